"""The contenders, one small function each: python -m benchmarks.contenders (a worker; see workers.py)

Each function loads a model of one kind from its folder and returns what runs it, in words, and a function from a job to
a call. A job is either "feeds" (the graph's inputs, as lists) or strings ("texts" for an encoder; "question", "titles"
and "texts" for a reader). Inputs are turned into what the engine takes before the clock starts, and each contender has
all usable processors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.place import GRAPH
from benchmarks.workers import Call, Prepare, Request, serve
from dpr_export.models.kinds import KINDS, READER

Loaded = tuple[str, Prepare]
PEER = "peer_sentence_transformers"


@dataclass(frozen=True, slots=True)
class Contender:
    """A row of the table of model calls.

    Attributes:
        name: what it is called in the tables.
        module: the module whose `load` serves it.
        needs: the folders it is made from; it loads the last.
        options: what its `load` function is told beside that; "how" names the function here.
        kinds: the kinds of model that it can run.
    """

    name: str
    needs: tuple[str, ...]
    options: dict[str, Any]
    module: str = "contenders"
    kinds: tuple[str, ...] = tuple(KINDS)


def _torch(name: str, **options: Any) -> Contender:
    return Contender(name, ("checkpoint",), {"how": "transformers", **options})


def _ours(backend: str, precision: str) -> Contender:
    options = {"how": "dpr_export", "backend": backend, "precision": precision}
    return Contender(f"dpr-export {backend} {precision}", ("checkpoint", "exported"), options)


BASELINE = _torch("transformers fp32")
OURS = _ours("openvino", "int8")
OURS_ORT = _ours("onnxruntime", "int8")
DOCUMENTED = Contender("ONNX Runtime dynamic INT8", ("checkpoint", "traced", "documented"), {"how": "onnxruntime"})
STRONGEST = Contender("sentence-transformers INT8", ("checkpoint", "bert", PEER), {}, PEER, ("question", "context"))
TORCH = (
    BASELINE,
    _torch("transformers bf16", dtype="bfloat16"),
    _torch("transformers fp32 compiled", compiled=True),
    _torch("transformers bf16 compiled", dtype="bfloat16", compiled=True),
)
CONTENDERS = (
    *TORCH,
    Contender("ONNX Runtime as traced", ("checkpoint", "traced"), {"how": "onnxruntime"}),
    DOCUMENTED,
    Contender("CTranslate2 INT8", ("checkpoint", "bert", "ctranslate2"), {"how": "ctranslate2"}),
    STRONGEST,
    _ours("onnxruntime", "fp32"),
    OURS_ORT,
    _ours("openvino", "fp32"),
    _ours("openvino", "bf16"),
    OURS,
)


def load_transformers(request: Request) -> Loaded:
    import torch
    import transformers

    torch.set_num_threads(request["threads"])
    architecture = KINDS[request["kind"]].architecture
    model = getattr(transformers, architecture).from_pretrained(
        request["folder"], dtype=getattr(torch, request.get("dtype", "float32")), attn_implementation="sdpa"
    )
    tokenizer = getattr(transformers, f"{architecture}Tokenizer").from_pretrained(request["folder"])
    output = KINDS[request["kind"]].outputs[0]
    run = torch.compile(model.eval(), dynamic=False) if request.get("compiled") else model.eval()

    def forward(encoded: Any) -> Any:
        with torch.inference_mode():
            return run(**encoded)

    def encode(texts: list[str], batch: int) -> Any:
        vectors = []
        for start in range(0, len(texts), batch):
            rows = texts[start : start + batch]
            encoded = tokenizer(rows, padding="longest", truncation=True, max_length=512, return_tensors="pt")
            vectors.append(getattr(forward(encoded), output))
        return torch.cat(vectors).numpy()

    def answer(job: Request) -> list[Any]:
        """The best spans of all passages, from batches of them, by the original's own decoding."""
        spans = []
        for start in range(0, len(job["texts"]), job["batch_size"]):
            rows = slice(start, start + job["batch_size"])
            encoded = tokenizer(
                questions=job["question"],
                titles=job["titles"][rows],
                texts=job["texts"][rows],
                padding="longest",
                truncation=True,
                max_length=512,
                return_tensors="pt",
            )
            spans += tokenizer.decode_best_spans(
                encoded, forward(encoded), num_spans=5, max_answer_length=10, num_spans_per_passage=1
            )
        return sorted(spans, key=lambda span: (-span.relevance_score, -span.span_score))[:5]

    def prepare(job: Request) -> Call:
        if "feeds" in job:
            feeds = {name: torch.tensor(rows) for name, rows in job["feeds"].items()}
            return lambda: getattr(forward(feeds), output)
        if request["kind"] == READER.name:
            return lambda: answer(job)
        return lambda: encode(job["texts"], job["batch_size"])

    return f"transformers {transformers.__version__}, torch {torch.__version__}", prepare


def load_onnxruntime(request: Request) -> Loaded:
    """A plain session, as ONNX Runtime's documentation makes it, with as many threads as everyone has."""
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
    """The encoder gives hidden states; a reader's two heads are computed beside it, in NumPy."""
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
    """Through the calls that a user writes."""
    from dpr_export import runtime

    architecture = KINDS[request["kind"]].architecture
    model = getattr(runtime, architecture).from_pretrained(
        request["folder"], backend=request["backend"], precision=request["precision"], threads=request["threads"]
    )
    output = KINDS[request["kind"]].outputs[0]

    def prepare(job: Request) -> Call:
        if "feeds" in job:
            feeds = {name: np.asarray(rows, np.int64) for name, rows in job["feeds"].items()}
            return lambda: getattr(model(**feeds), output)
        if request["kind"] == READER.name:
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
    serve(lambda request: LOADERS[request["how"]](request))
