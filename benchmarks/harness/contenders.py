"""The contenders, and how each is loaded: python -m benchmarks.harness.contenders serve (a worker, see workers.py)

A loader takes the "load" request. A job is "feeds" (the graph's inputs, as lists, which become arrays or tensors before
the clock starts) or strings ("texts" for an encoder; "question", "titles" and "texts" for a reader). On a GPU every
call begins with ids in host memory and ends with the result there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.model_files import GRAPH, SENTENCE_TRANSFORMERS
from benchmarks.harness.workers import Call, Loaded, Request, serve
from dpr_export.models.artifact.variants import VARIANTS
from dpr_export.models.kinds import CONTEXT, KINDS, QUESTION, READER
from dpr_export.models.telemetry import no_telemetry
from dpr_export.runtime.engines.processors import processor_features

_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # by /proc/cpuinfo's names


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to run a model: a row of the tables."""

    name: str
    needs: tuple[str, ...]  # the models to make for it (see model_files.py); it loads the last
    options: dict[str, Any]  # more fields of its "load" request; "loader" names a function of this module
    module: str = "harness.contenders"  # that serves it
    kinds: tuple[str, ...] = tuple(KINDS)  # of model, that it can run


def _torch(name: str, **options: Any) -> Contender:
    return Contender(f"transformers {name}", ("checkpoint",), {"loader": "transformers", **options})


def _ours(backend: str, precision: str, exported: str = "exported") -> Contender:
    options = {"loader": "dpr_export", "backend": backend, "precision": precision}
    return Contender(f"dpr-export {backend} {precision}", ("checkpoint", exported), options)


BASELINE = _torch("fp32")
OURS = _ours("openvino", "int8")
OURS_ORT = _ours("onnxruntime", "int8")
DOCUMENTED = Contender("ONNX Runtime dynamic INT8", ("checkpoint", "traced", "documented"), {"loader": "onnxruntime"})
STRONGEST = Contender(
    "sentence-transformers INT8",
    ("checkpoint", "bert", SENTENCE_TRANSFORMERS),
    {},
    f"harness.{SENTENCE_TRANSFORMERS}",
    (QUESTION.name, CONTEXT.name),
)
TORCH = (
    BASELINE,
    _torch("bf16", dtype="bfloat16"),
    _torch("fp32 compiled", compile={}),
    _torch("bf16 compiled", dtype="bfloat16", compile={}),
)
CPU_CONTENDERS = (
    *TORCH,
    Contender("ONNX Runtime as traced", ("checkpoint", "traced"), {"loader": "onnxruntime"}),
    DOCUMENTED,
    Contender("CTranslate2 INT8", ("checkpoint", "bert", "ctranslate2"), {"loader": "ctranslate2"}),
    STRONGEST,
    _ours("onnxruntime", "fp32"),
    OURS_ORT,
    _ours("openvino", "fp32"),
    _ours("openvino", "bf16"),
    OURS,
)
OURS_AND_BASELINE = tuple(row for row in CPU_CONTENDERS if row is BASELINE or row.options.get("loader") == "dpr_export")

GPU_EAGER = _torch("fp16 eager", dtype="float16", attention="eager")
GPU_COMPILED = _torch("fp16 compiled", dtype="float16", compile={"mode": "max-autotune"})  # with CUDA graphs
GPU_OURS = tuple(
    _ours(spec.backend, spec.precision, "exported-gpu") for spec in VARIANTS if spec.devices == ("cuda",) and spec.lossy
)
GPU_CONTENDERS = (GPU_EAGER, _torch("fp16 sdpa", dtype="float16"), GPU_COMPILED, *GPU_OURS)


def load_transformers(request: Request) -> Loaded:
    """As a user of PyTorch runs it, with sdpa unless another attention is asked for."""
    import torch

    with no_telemetry():
        import transformers

    torch.set_num_threads(request["threads"])
    kind, device = KINDS[request["kind"]], request.get("device", "cpu")
    if (request.get("dtype"), device) == ("bfloat16", "cpu") and not processor_features() & _BFLOAT16:
        raise RuntimeError("this processor has no bfloat16, and emulates it many times slower than float32")
    model = getattr(transformers, kind.architecture).from_pretrained(
        request["folder"],
        dtype=getattr(torch, request.get("dtype", "float32")),
        attn_implementation=request.get("attention", "sdpa"),
    )
    tokenizer = getattr(transformers, f"{kind.architecture}Tokenizer").from_pretrained(request["folder"])
    run: Any = model.eval().to(device)
    if "compile" in request:
        run = torch.compile(run, dynamic=False, **request["compile"])
    options: dict[str, Any] = {"padding": "longest", "truncation": True, "max_length": 512, "return_tensors": "pt"}

    def forward(encoded: Any) -> Any:
        with torch.inference_mode():
            return run(**{name: rows.to(device) for name, rows in encoded.items()})

    def encode(texts: list[str], batch: int) -> Any:
        batches = [tokenizer(texts[start : start + batch], **options) for start in range(0, len(texts), batch)]
        return torch.cat([forward(encoded).pooler_output for encoded in batches]).numpy()

    def answer(job: Request) -> list[Any]:
        """The best spans of all passages, in batches, by transformers' own decoding."""
        spans = []
        for start in range(0, len(job["texts"]), job["batch_size"]):
            rows = slice(start, start + job["batch_size"])
            encoded = tokenizer(
                questions=job["question"], titles=job["titles"][rows], texts=job["texts"][rows], **options
            )
            spans += tokenizer.decode_best_spans(
                encoded, forward(encoded), num_spans=5, max_answer_length=10, num_spans_per_passage=1
            )
        return sorted(spans, key=lambda span: (-span.relevance_score, -span.span_score))[:5]

    def prepare(job: Request) -> Call:
        if "feeds" in job:
            feeds = {name: torch.tensor(rows) for name, rows in job["feeds"].items()}
            return lambda: getattr(forward(feeds), kind.outputs[0]).cpu()
        if kind is READER:
            return lambda: answer(job)
        return lambda: encode(job["texts"], job["batch_size"])

    return f"transformers {transformers.__version__}, torch {torch.__version__}", prepare


def load_onnxruntime(request: Request) -> Loaded:
    """A plain session, as ONNX Runtime's documentation makes it."""
    with no_telemetry():
        import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    session = ort.InferenceSession(Path(request["folder"]) / GRAPH, options, providers=["CPUExecutionProvider"])
    output = KINDS[request["kind"]].outputs[0]

    def prepare(job: Request) -> Call:
        feeds = {name: np.asarray(rows, np.int64) for name, rows in job["feeds"].items()}
        return lambda: session.run([output], feeds)[0]

    return f"onnxruntime {ort.__version__}", prepare


def load_ctranslate2(request: Request) -> Loaded:
    """CTranslate2 computes the hidden states; NumPy computes a reader's two heads."""
    import ctranslate2

    encoder = ctranslate2.Encoder(
        request["folder"], device="cpu", compute_type="int8", inter_threads=1, intra_threads=request["threads"]
    )
    reader = request["kind"] == READER.name
    heads = dict(np.load(Path(request["folder"], "heads.npz"))) if reader else {}

    def prepare(job: Request) -> Call:
        ids = np.asarray(job["feeds"]["input_ids"], np.int32)
        rows = ctranslate2.StorageView.from_array(ids)
        lengths = ctranslate2.StorageView.from_array(np.full(len(ids), ids.shape[1], np.int32))

        def call() -> Any:
            hidden = np.asarray(encoder.forward_batch(rows, lengths).last_hidden_state)
            if not reader:
                return hidden[:, 0]
            spans = hidden @ heads["qa_outputs.weight"].T + heads["qa_outputs.bias"]
            hidden[:, 0] @ heads["qa_classifier.weight"].T + heads["qa_classifier.bias"]
            return spans[..., 0]

        return call

    return f"ctranslate2 {ctranslate2.__version__}", prepare


def load_dpr_export(request: Request) -> Loaded:
    """Through the calls that a user writes; a TensorRT engine file is built first."""
    from dpr_export import runtime

    kind, device = KINDS[request["kind"]], request.get("device", "cpu")
    options = {name: request[name] for name in ("backend", "precision")}
    if options["backend"] == "tensorrt":
        from dpr_export.runtime.checks.build_engine import build_engine

        build_engine(request["folder"], precision=options["precision"], device=device)
    options |= {"threads": request["threads"]} if device == "cpu" else {"device": device}
    model = getattr(runtime, kind.architecture).from_pretrained(request["folder"], **options)

    def prepare(job: Request) -> Call:
        if "feeds" in job:
            feeds = {name: np.asarray(rows, np.int64) for name, rows in job["feeds"].items()}
            return lambda: getattr(model(**feeds), kind.outputs[0])
        if kind is READER:
            return lambda: model.answer(job["question"], titles=job["titles"], texts=job["texts"])
        return lambda: model.encode(job["texts"])

    return model.explain().splitlines()[0].partition(" on ")[2], prepare


LOADERS: dict[str, Callable[[Request], Loaded]] = {
    "transformers": load_transformers,
    "onnxruntime": load_onnxruntime,
    "ctranslate2": load_ctranslate2,
    "dpr_export": load_dpr_export,
}

if __name__ == "__main__":
    serve(lambda request: LOADERS[request["loader"]](request))
