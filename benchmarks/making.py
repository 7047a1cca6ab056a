"""Make what the contenders load, once: python -m benchmarks.making WHAT KIND CONFIG FOLDER OUTPUT

Each thing is made by a process of its own, in a folder that gets its name when it is whole, and is kept for the next
run. The exported folder alone is made again when the code that makes it has changed.

The graph "as traced" is what a user gets from torch.onnx.export without dpr-export: the original's own forward pass,
with every row of the last layer. "documented" is that graph in INT8, by the two steps that ONNX Runtime's
documentation gives: its pre-processing, and quantize_dynamic with its defaults.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.place import GRAPH, Place
from benchmarks.workers import ROOT, WorkerError
from dpr_export.models.kinds import KINDS

SEED = 0
MAKING_FOLDERS = ("models", "exporter", "quantization")
_OPSET = 18


def make_checkpoint(kind: str, config: dict[str, Any], folder: Path, output: Path) -> None:
    """A DPR checkpoint with random weights and bert-base-uncased's vocabulary."""
    del folder
    import torch
    import transformers

    from dpr_export.exporter.demo.base import base_folder

    torch.manual_seed(SEED + list(KINDS).index(kind))
    model = getattr(transformers, KINDS[kind].architecture)(transformers.DPRConfig(**config))
    for name, parameter in model.named_parameters():  # biases and LayerNorm too, which start as zeros and ones
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=float(name.endswith("LayerNorm.weight")), std=0.2)
    model.save_pretrained(output)
    shutil.copyfile(base_folder(kind) / "vocab.txt", output / "vocab.txt")


def make_bert(kind: str, config: dict[str, Any], folder: Path, output: Path) -> None:
    """The BERT inside, with the same weights: what peers that know BERT but not DPR are given."""
    import torch
    import transformers

    dpr = getattr(transformers, KINDS[kind].architecture).from_pretrained(folder / "checkpoint")
    weights = next(module for name, module in dpr.named_modules() if name.endswith("bert_model")).state_dict()
    torch.manual_seed(SEED)
    bert = transformers.BertModel(transformers.BertConfig(**{**config, "position_embedding_type": "absolute"}))
    missing, unexpected = bert.load_state_dict(weights, strict=False)
    if unexpected or any(not name.startswith("pooler.") for name in missing):
        raise RuntimeError(f"BertModel lacks {missing} and has no {unexpected}")
    bert.save_pretrained(output)
    vocabulary = str(folder / "checkpoint" / "vocab.txt")
    transformers.BertTokenizer(vocabulary, model_max_length=512).save_pretrained(output)


def make_exported(kind: str, config: dict[str, Any], folder: Path, output: Path) -> None:
    """The folder that dpr-export writes, with every variant for CPUs, at the first settings of each: the bounds are for
    trained weights, and random ones may miss them."""
    del kind, config
    from dpr_export.exporter import ExportOptions, export
    from dpr_export.models.artifact.variants import BOUNDS

    BOUNDS.clear()
    export(
        str(folder / "checkpoint"),
        output,
        ExportOptions(precisions=("fp32", "int8"), backends=("onnxruntime", "openvino"), force=True),
    )


def make_exported_gpu(kind: str, config: dict[str, Any], folder: Path, output: Path) -> None:
    """The folder that dpr-export writes, with every variant for GPUs, made as those are."""
    del kind, config
    from dpr_export.exporter import ExportOptions, export
    from dpr_export.models.artifact.variants import BOUNDS

    BOUNDS.clear()
    export(
        str(folder / "checkpoint"),
        output,
        ExportOptions(precisions=("fp32", "fp16", "int8"), backends=("onnxruntime", "tensorrt"), force=True),
    )


def make_traced(kind: str, config: dict[str, Any], folder: Path, output: Path) -> None:
    """The original's own forward pass, as torch.onnx.export traces it."""
    del config
    import torch
    import transformers

    model = getattr(transformers, KINDS[kind].architecture).from_pretrained(
        folder / "checkpoint", attn_implementation="eager"
    )
    names = KINDS[kind].inputs
    example = {name: torch.ones((2, 7), dtype=torch.int64) for name in names}
    dynamic = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence", max=512)}
    program = torch.onnx.export(
        model.eval(),
        (),
        kwargs=example,
        dynamo=True,
        opset_version=_OPSET,
        input_names=list(names),
        output_names=list(KINDS[kind].outputs),
        dynamic_shapes=dict.fromkeys(names, dynamic),
    )
    assert program is not None
    program.save(str(output / GRAPH))


def make_documented(kind: str, config: dict[str, Any], folder: Path, output: Path) -> None:
    """ONNX Runtime's dynamic INT8 of the traced graph, with the defaults of its documentation."""
    del kind, config
    import onnx
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = onnx.load(folder / "traced" / GRAPH)
    del model.graph.value_info[:]  # torch's notes on shapes, which ONNX's own inference contradicts
    with TemporaryDirectory() as scratch, chdir(scratch):  # the pre-processing leaves files behind
        onnx.save(model, "plain.onnx")
        try:
            quant_pre_process("plain.onnx", "prepared.onnx")
        except Exception as error:  # it does not follow positions that are cut to the sequence: a step it can leave out
            print(f"without symbolic shapes: {error}", file=sys.stderr)
            quant_pre_process("plain.onnx", "prepared.onnx", skip_symbolic_shape=True)
        quantize_dynamic("prepared.onnx", output / GRAPH)


def make_ctranslate2(kind: str, config: dict[str, Any], folder: Path, output: Path) -> None:
    """CTranslate2's conversion of the BERT inside; for a reader, its two heads beside it."""
    del config
    import numpy as np
    import transformers
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(folder / "bert")).convert(str(output), quantization="int8", force=True)
    if kind == "reader":
        reader = transformers.DPRReader.from_pretrained(folder / "checkpoint").span_predictor
        heads = {"qa_outputs": reader.qa_outputs, "qa_classifier": reader.qa_classifier}
        arrays = {
            f"{name}.{part}": getattr(head, part).detach().numpy()
            for name, head in heads.items()
            for part in ("weight", "bias")
        }
        np.savez(output / "heads.npz", **arrays)


MAKERS: dict[str, Callable[[str, dict[str, Any], Path, Path], None]] = {
    "checkpoint": make_checkpoint,
    "bert": make_bert,
    "exported": make_exported,
    "exported-gpu": make_exported_gpu,
    "traced": make_traced,
    "documented": make_documented,
    "ctranslate2": make_ctranslate2,
}


def made(place: Place, kind: str, what: str) -> Path:
    """The folder of what is asked for, made now if it is not there.

    Raises:
        WorkerError: it cannot be made.
    """
    output = place.of(kind, what)
    if is_made(place, kind, what):
        return output
    command = [sys.executable, "-m", "benchmarks.making", what, kind, json.dumps(place.size.config)]
    make_whole(place, kind, what, command, output)
    return output


def is_made(place: Place, kind: str, what: str) -> bool:
    """Whether it is there already; an exported folder must be newer than the code that exports."""
    output = place.of(kind, what)
    return output.is_dir() and not (what.startswith("exported") and _code_is_newer(output))


def make_whole(place: Place, kind: str, what: str, command: list[Any], output: Path) -> None:
    """Run a command that fills the folder given as its last two arguments, and give the folder its name after that."""
    making = output.with_name(f"{what}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    log = place.log(f"make {kind} {what}")
    with log.open("w", encoding="utf-8") as stderr:
        done = subprocess.run(
            [*command, output.parent, making],
            stdout=stderr,
            stderr=stderr,
            cwd=output.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT), **place.variables},
        )
    if done.returncode:
        lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
        raise WorkerError(f"{what} could not be made: {lines[-1] if lines else 'no word of why'}")
    shutil.rmtree(output, ignore_errors=True)
    making.rename(output)


def _code_is_newer(output: Path) -> bool:
    files = [
        path for folder in MAKING_FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".jsonl")
    ]
    return max(path.stat().st_mtime for path in files) > (output / "manifest.json").stat().st_mtime


if __name__ == "__main__":
    what, kind, config, folder, output = sys.argv[1:]
    MAKERS[what](kind, json.loads(config), Path(folder), Path(output))
