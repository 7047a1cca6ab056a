"""The exported folders that tests read: tiny models of each kind, the demo models, and their variants.

Each is made once, in a folder that all processes of one run share; a test that changes one copies it first.

    python -m tests.exported FOLDER      # the tiny ones, for `pytest --exported=FOLDER` without PyTorch
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import MANIFEST_FILE
from dpr_export.models.artifact.variants import BACKENDS, MODEL_FILE, PRECISIONS
from dpr_export.models.kinds import KINDS

WORDS = (
    "who wrote hamlet ? shakespeare is a play by william the capital of france paris river what when where it was "
    "in on and , . ' - ! ##s ##ing ##ed ##a ##b a b c d e f g h i j k l m n o p q r s t u v w x y z"
).split()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS)]
TINY = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}
FEW = 24
TEXTS = {"calibration": "calibration_set.jsonl", "judging": "evaluation_set.jsonl"}


def write_checkpoint(folder: Path, kind: str, seed: int = 0, **config: Any) -> Path:
    """Write a checkpoint with random weights of one kind, and a vocabulary; skip the test if there is no PyTorch."""
    torch = pytest.importorskip("torch")
    import transformers

    torch.manual_seed(seed)
    configuration = transformers.DPRConfig(**{**TINY, **config})
    model = getattr(transformers, KINDS[kind].architecture)(configuration)
    for name, parameter in model.named_parameters():  # biases and LayerNorm too, which start as zeros and ones
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=1.0 if name.endswith("LayerNorm.weight") else 0.0, std=0.2)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return folder


def copy_plain(source: Path, output: Path) -> Path:
    """Copy an exported folder with `model.onnx` as its only graph, whatever was found worth keeping beside it."""
    shutil.copytree(source, output)
    manifest = json.loads(ExportedFolder.open(source).manifest.to_json())
    manifest["variants"] = [variant for variant in manifest["variants"] if variant["file"] == MODEL_FILE]
    for name in [name for name in manifest["files"] if name.startswith("onnx/") and name != MODEL_FILE]:
        del manifest["files"][name]
        (output / name).unlink()
    (output / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    return output


@contextmanager
def remembered_traces(root: Path) -> Iterator[None]:
    """Trace a model once: the same model, with the same options, gives the same graph.

    Most of an export's time is PyTorch's. A test that changes what tracing does calls or replaces `trace` itself.
    """
    from dpr_export.exporter.tracing import trace as module
    from dpr_export.quantization import save_graph

    trace, default = module.trace, save_graph.LARGEST_INLINE

    def remembered(loaded: Any, path: Path, *options: Any, **more: Any) -> None:
        if default > save_graph.LARGEST_INLINE:  # a graph with data beside it is not one file
            trace(loaded, path, *options, **more)
            return
        call = signature(trace).bind(loaded, path, *options, **more)
        call.apply_defaults()
        _, _, *arguments = call.arguments.values()
        key = sha256(repr((loaded.kind.name, loaded.model.config.to_json_string(), arguments)).encode())
        for name, tensor in sorted(loaded.model.state_dict().items()):
            key.update(name.encode() + tensor.contiguous().numpy().tobytes())
        kept = root / key.hexdigest()
        if not kept.exists():
            trace(loaded, path, *options, **more)
            shutil.copyfile(path, making := kept.with_suffix(f".{os.getpid()}"))
            making.rename(kept)
        shutil.copyfile(kept, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "trace", remembered)
        yield


@contextmanager
def quick_gate(texts: Path) -> Iterator[None]:
    """Judge variants on few texts, and time nothing."""
    from dpr_export.quantization import variants

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variants, "EVALUATION_SET_FILE", texts)
        patch.setattr(variants, "speedup", lambda *_: 1.5)
        yield


class Exported:
    """The folders below `root`, each made by the first process that asks for it; `ready` ones are made already."""

    def __init__(self, root: Path, *, ready: bool = False) -> None:
        self.root = root
        self._ready = ready

    def of_each_kind(self, make: Callable[[str], Path]) -> dict[str, Path]:
        """A folder of each kind, by its name. Two processes begin at different ends, and so share the work."""
        kinds = list(KINDS)
        if os.environ.get("PYTEST_XDIST_WORKER") == "gw1":
            kinds.reverse()
        made = {kind: make(kind) for kind in kinds}
        return {kind: made[kind] for kind in KINDS}

    def tiny(self, kind: str) -> Path:
        return self._once(f"tiny/{kind}", lambda output: _export(self.tiny_checkpoint(kind), output))

    def tiny_checkpoint(self, kind: str) -> Path:
        return self._once(f"tiny/{kind}-checkpoint", lambda output: write_checkpoint(output, kind))

    def tiny_whole(self, kind: str) -> Path:
        more = {"output_hidden_states": True, "output_attentions": True, "inputs_embeds": True}
        return self._once(f"tiny/{kind}-whole", lambda output: _export(self.tiny_checkpoint(kind), output, **more))

    def few(self, name: str) -> Path:
        def write(output: Path) -> None:
            from dpr_export.quantization.texts import CALIBRATION_SET_FILE, EVALUATION_SET_FILE

            source = {"calibration": CALIBRATION_SET_FILE, "judging": EVALUATION_SET_FILE}[name]
            lines = source.read_text(encoding="utf-8").splitlines(keepends=True)[:FEW]
            output.write_text("".join(lines), encoding="utf-8")

        return self._once(f"few/{TEXTS[name]}", write)

    def tiny_variants(self, kind: str) -> Path:
        def add(output: Path) -> None:
            from dpr_export.quantization import VariantOptions, add_variants

            copy_plain(self.tiny(kind), output)
            options = VariantOptions(
                precisions=PRECISIONS, backends=BACKENDS, calibration=self.few("calibration"), allow_loss=True
            )
            with quick_gate(self.few("judging")), pytest.MonkeyPatch.context() as patch:
                patch.setattr("dpr_export.quantization.recipes.MOST_PARTS", 0)  # random weights would take all attempts
                add_variants(output, options)

        return self._once(f"every/{kind}", add)

    def demo(self, kind: str) -> Path:
        return self._once(f"demo/{kind}-onnx", lambda output: _export(f"demo/{kind}", output))

    def demo_variants(self) -> Path:
        def add(output: Path) -> None:
            from dpr_export.quantization import VariantOptions, add_variants

            shutil.copytree(self.demo("question"), output)
            add_variants(output, VariantOptions(precisions=["fp16", "int8"], backends=BACKENDS))

        return self._once("trained/question-onnx", add)

    def _once(self, name: str, make: Callable[[Path], object]) -> Path:
        """The file or folder of this name. Other processes wait for the one that makes it."""
        path = self.root / name
        done = self.root / f".{name.replace('/', '-')}.done"
        if self._ready:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(done.with_suffix(".lock")):
            if not done.exists():
                make(path)
                done.touch()
        return path


def _export(source: object, output: Path, **options: Any) -> None:
    from dpr_export.exporter import ExportOptions, export

    export(str(source), output, ExportOptions(**options))


if __name__ == "__main__":
    exported = Exported(Path(sys.argv[1]))
    for make in (exported.tiny, exported.tiny_whole, exported.tiny_variants):
        exported.of_each_kind(make)
