"""Make the models that contenders load, once: python -m benchmarks.harness.model_files WHAT KIND CONFIG SOURCE OUTPUT

The working folder keeps them by size and kind (base/question/checkpoint), beside logs/ and sentence-transformers/, an
environment. Models have random weights: they cost as much to run as trained ones. Each is made by a process of its own
in a folder that is renamed when it is complete. Exported folders are made again when the exporting code changed.
"""

import json
import shutil
import sys
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.harness import sentence_transformers_int8
from benchmarks.harness.processes import run_measured
from benchmarks.harness.texts import CALIBRATION_TEXTS, write_texts
from benchmarks.harness.workers import ROOT, WorkerError
from dpr_export.models.kinds import KINDS, READER
from dpr_export.models.telemetry import VARIABLES, no_telemetry

GRAPH = "model.onnx"
SENTENCE_TRANSFORMERS = "sentence_transformers_int8"
_EXPORTING_CODE = ("models", "exporter", "quantization")
_OPSET = 18


@dataclass(frozen=True, slots=True)
class Size:
    """A size of model; its name is its folder in the working folder."""

    name: str
    config: dict[str, Any] | None  # what its DPRConfig changes of BERT-base (12 layers, 768 wide); None: the demo's


BASE = Size("base", {})
DEMO = Size("demo", None)
TINY = Size("tiny", {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256})


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """The working folder of a run, and the size of the models that the run is about."""

    path: Path
    size: Size

    @property
    def models(self) -> Path:
        return self.path / self.size.name

    def model(self, kind: str, what: str) -> Path:
        return self.models / kind / what

    def log(self, name: str) -> Path:
        (self.path / "logs").mkdir(parents=True, exist_ok=True)
        return self.path / "logs" / f"{name.replace(' ', '-')}.log"

    @property
    def other_python(self) -> Path:
        """The interpreter of sentence-transformers' environment."""
        return self.path / "sentence-transformers" / "bin" / "python"

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables for all processes: caches stay in the working folder, and nothing asks the hub."""
        return {
            "XDG_CACHE_HOME": str(self.path / "cache"),
            "TORCHINDUCTOR_CACHE_DIR": str(self.path / "cache" / "inductor"),
            "HF_HOME": str(self.path / "cache" / "huggingface"),
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            **VARIABLES,
        }


@dataclass(frozen=True, slots=True)
class Job:
    """A model to make: of which kind and configuration, from the models in `source`, into `output`."""

    kind: str
    config: dict[str, Any] | None
    source: Path
    output: Path

    def load_checkpoint(self, **options: Any) -> Any:
        with no_telemetry():
            import transformers

        architecture = getattr(transformers, KINDS[self.kind].architecture)
        return architecture.from_pretrained(self.source / "checkpoint", **options)


def make_checkpoint(job: Job) -> None:
    """The demo's checkpoint, or one with random weights and bert-base-uncased's vocabulary."""
    import torch

    with no_telemetry():
        import transformers

    from dpr_export.exporter.demo.checkpoint import base_folder, write_checkpoint

    if job.config is None:
        write_checkpoint(job.kind, job.output)
        return
    torch.manual_seed(list(KINDS).index(job.kind))
    model = getattr(transformers, KINDS[job.kind].architecture)(transformers.DPRConfig(**job.config))
    for name, parameter in model.named_parameters():  # biases and LayerNorm would otherwise be zeros and ones
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=float(name.endswith("LayerNorm.weight")), std=0.2)
    model.save_pretrained(job.output)
    shutil.copyfile(base_folder(job.kind) / "vocab.txt", job.output / "vocab.txt")


def make_bert(job: Job) -> None:
    """The BERT model inside, with the same weights."""
    import torch

    with no_telemetry():
        import transformers

    modules = job.load_checkpoint().named_modules()
    weights = next(module for name, module in modules if name.endswith("bert_model")).state_dict()
    torch.manual_seed(0)
    config = {**(job.config or {}), "position_embedding_type": "absolute"}
    bert = transformers.BertModel(transformers.BertConfig(**config))
    missing, unexpected = bert.load_state_dict(weights, strict=False)
    if unexpected or any(not name.startswith("pooler.") for name in missing):
        raise RuntimeError(f"BertModel lacks {missing} and has no {unexpected}")
    bert.save_pretrained(job.output)
    vocabulary = str(job.source / "checkpoint" / "vocab.txt")
    transformers.BertTokenizer(vocabulary, model_max_length=512).save_pretrained(job.output)


def make_exported(job: Job, backends: tuple[str, ...], precisions: tuple[str, ...]) -> None:
    """Export as the command does; random weights at the first settings of each variant, since the bounds are for
    trained weights, and with few texts to calibrate and evaluate, which saves minutes and does not change the speed."""
    from dpr_export.exporter import ExportOptions, export
    from dpr_export.models.artifact.variants import BOUNDS
    from dpr_export.quantization import variants

    options: dict[str, Any] = {"precisions": precisions, "backends": backends, "allow_loss": True, "force": True}
    with TemporaryDirectory() as folder:
        if job.config is not None:
            BOUNDS.update(dict.fromkeys(BOUNDS, -1.0))  # which any variant reaches
            options["calibration"] = variants.EVALUATION_SET_FILE = Path(folder, "texts.jsonl")
            write_texts(options["calibration"], CALIBRATION_TEXTS)
        export(str(job.source / "checkpoint"), job.output, ExportOptions(**options))


def make_traced(job: Job) -> None:
    """transformers' own forward pass as torch.onnx.export traces it, with every row of the last layer."""
    import torch

    names = KINDS[job.kind].inputs
    dynamic = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence", max=512)}
    program = torch.onnx.export(
        job.load_checkpoint(attn_implementation="eager").eval(),
        (),
        kwargs={name: torch.ones((2, 7), dtype=torch.int64) for name in names},
        dynamo=True,
        opset_version=_OPSET,
        input_names=list(names),
        output_names=list(KINDS[job.kind].outputs),
        dynamic_shapes=dict.fromkeys(names, dynamic),
    )
    assert program is not None
    program.save(str(job.output / GRAPH))


def make_documented(job: Job) -> None:
    """The traced graph in dynamic INT8, by ONNX Runtime's pre-processing and quantize_dynamic with its defaults."""
    import onnx

    with no_telemetry():
        from onnxruntime.quantization import quantize_dynamic
        from onnxruntime.quantization.shape_inference import quant_pre_process

    model = onnx.load(job.source / "traced" / GRAPH)
    del model.graph.value_info[:]  # torch's notes on shapes, which ONNX's own inference contradicts
    with TemporaryDirectory() as scratch, chdir(scratch):  # the pre-processing leaves files behind
        onnx.save(model, "plain.onnx")
        try:
            quant_pre_process("plain.onnx", "prepared.onnx")
        except Exception as error:  # symbolic shapes fail on positions cut to the sequence; this step is optional
            print(f"without symbolic shapes: {error}", file=sys.stderr)
            quant_pre_process("plain.onnx", "prepared.onnx", skip_symbolic_shape=True)
        quantize_dynamic("prepared.onnx", job.output / GRAPH)


def make_ctranslate2(job: Job) -> None:
    """CTranslate2's conversion of BERT, and a reader's two heads as NumPy arrays."""
    import numpy as np
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(job.source / "bert")).convert(str(job.output), quantization="int8", force=True)
    if job.kind == READER.name:
        weights = job.load_checkpoint().span_predictor.state_dict()
        heads = {name: array.numpy() for name, array in weights.items() if name.startswith("qa_")}
        np.savez(job.output / "heads.npz", **heads)


MAKERS: dict[str, Callable[[Job], None]] = {
    "checkpoint": make_checkpoint,
    "bert": make_bert,
    "exported": partial(make_exported, backends=("onnxruntime", "openvino"), precisions=("fp32", "int8")),
    "exported-gpu": partial(
        make_exported,
        backends=("onnxruntime", "tensorrt"),
        precisions=("fp32", "fp16", "int8") if find_spec("nncf") else ("fp32", "fp16"),
    ),
    "traced": make_traced,
    "documented": make_documented,
    "ctranslate2": make_ctranslate2,
}


def make(work: WorkFolder, kind: str, what: str, say: Callable[[str], None]) -> Path:
    """Return the folder of a model; make it first if it is missing.

    Raises:
        WorkerError: it cannot be made.
        OSError: the environment of sentence-transformers cannot be made.
    """
    output = work.model(kind, what)
    if output.is_dir() and not (what.startswith("exported") and _code_is_newer(output)):
        return output
    say(f"{kind}: make {what} in {work.path}")
    config = json.dumps(work.size.config)
    command: list[Any] = [sys.executable, "-m", "benchmarks.harness.model_files", what, kind, config]
    if what == SENTENCE_TRANSFORMERS:
        if not work.other_python.is_file():
            say("make an environment for sentence-transformers: downloads a few gigabytes")
            sentence_transformers_int8.make_environment(work.other_python.parent.parent, work.log(f"make {what}"))
        texts = work.path / "texts" / kind / "train.jsonl"
        texts.parent.mkdir(parents=True, exist_ok=True)
        write_texts(texts, CALIBRATION_TEXTS, "question" if kind == "question" else "text")
        command = [work.other_python, "-m", f"benchmarks.harness.{what}", "make", texts.parent]
    temporary = output.with_name(f"{what}.making")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        run_measured([*command, output.parent, temporary], work.variables, work.log(f"make {kind} {what}"))
    except WorkerError as error:
        raise WorkerError(f"{what} could not be made: {error}") from None
    shutil.rmtree(output, ignore_errors=True)
    temporary.rename(output)
    return output


def _code_is_newer(output: Path) -> bool:
    files = [path for folder in _EXPORTING_CODE for path in (ROOT / folder).rglob("*.py")]
    return max(path.stat().st_mtime for path in files) > (output / "manifest.json").stat().st_mtime


if __name__ == "__main__":
    what, kind, config, source, output = sys.argv[1:]
    MAKERS[what](Job(kind, json.loads(config), Path(source), Path(output)))
