"""What the benchmark of corpora has done, each in a process of its own: python -m benchmarks.corpus_jobs JOB FOLDER ...

FOLDER holds the models, checkpoints and exported. A job prints what it measured as one line of JSON.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

KINDS = ("question", "context", "reader")
BATCH, LENGTH = 512, 256  # the first code's
READ = 20


def make_models(work: Path) -> dict[str, Any]:
    """The demo's checkpoints, and what `dpr-export` makes of them.

    In a process of its own too: the peak of a process counts what its parent had when it was forked.
    """
    from dpr_export.exporter.checkpoint.source import resolve_checkpoint

    for kind in KINDS:
        with resolve_checkpoint(f"demo/{kind}") as checkpoint:
            subprocess.run(["cp", "-r", str(checkpoint.folder), str(work / f"{kind}-checkpoint")], check=True)
        command = [Path(sys.executable).with_name("dpr-export"), work / f"{kind}-checkpoint", "-o", work / kind]
        subprocess.run([*command, "--precision", "fp32", "--precision", "int8"], check=True, capture_output=True)
    return {}


def encode_ours(work: Path, precision: str, passages: str, output: str, *ray: str) -> dict[str, Any]:
    """Encode a corpus: passages a second, and the share of time that each stage was at work.

    `ray` is how many workers, and how many threads each has.
    """
    from dpr_export.runtime.corpus import encode_corpus

    workers, threads = map(int, ray) if ray else (None, None)
    done = encode_corpus(
        work / "context",
        passages,
        output,
        precision=precision,
        backend="openvino",
        shard_size=2048,
        threads=threads,
        ray="local" if ray else None,
        workers=workers,
    )
    return {
        "passages": done.passages,
        "seconds": done.seconds,
        "busy": {stage: seconds / done.seconds for stage, seconds in done.busy.items()},
    }


def encode_transformers(work: Path, passages: str, count: str) -> dict[str, Any]:
    """Encode the first passages as the first code does."""
    import torch
    import transformers

    from dpr_export.runtime.corpus import read_corpus

    rows = [row for _, row in zip(range(int(count)), read_corpus(passages), strict=False)]
    tokenizer = transformers.DPRContextEncoderTokenizer.from_pretrained(work / "context-checkpoint")
    model = transformers.DPRContextEncoder.from_pretrained(work / "context-checkpoint").eval()
    start = time.perf_counter()
    with torch.inference_mode():
        for first in range(0, len(rows), BATCH):
            few = rows[first : first + BATCH]
            texts = ([row.title or "" for row in few], [row.text for row in few])
            model(**tokenizer(*texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt"))
    return {"passages": len(rows), "seconds": time.perf_counter() - start, "busy": {}}


def answer_ours(work: Path, precision: str, data: str) -> dict[str, Any]:
    """Answer every question with one variant."""
    from dpr_export.runtime.corpus import Models
    from dpr_export.runtime.corpus.evaluation import evaluate

    models = Models(*(str(work / kind) for kind in KINDS))
    (score,) = evaluate(data, models, variants=[f"openvino-{precision}"], read=READ)
    return {
        "top": {str(k): share for k, share in score.top_k.items()},
        "exact match": score.exact_match,
        "F1": score.f1,
        "milliseconds": score.milliseconds,
        "questions": score.questions,
    }


def answer_transformers(work: Path, data: str) -> dict[str, Any]:
    """Answer every question with the same pipeline in transformers."""
    import numpy as np
    import torch
    import transformers

    from dpr_export.runtime.corpus import read_questions
    from dpr_export.runtime.corpus.evaluation.squad_metrics import best_score, exact_match, f1
    from dpr_export.runtime.corpus.retrieval.answer_matching import has_answer

    asked = read_questions(data)
    questions = asked.questions

    def loaded(kind: str, name: str) -> tuple[Any, Any]:
        folder = work / f"{kind}-checkpoint"
        tokenizer = getattr(transformers, f"{name}Tokenizer").from_pretrained(folder)
        return tokenizer, getattr(transformers, name).from_pretrained(folder).eval()

    ask, encoder = loaded("question", "DPRQuestionEncoder")
    tokenize, context = loaded("context", "DPRContextEncoder")
    tokenizer, reader = loaded("reader", "DPRReader")
    seconds = dict.fromkeys(("encode", "search", "read"), 0.0)
    right: dict[str, list[float]] = {"exact match": [], "F1": []}
    top: dict[int, list[bool]] = {1: [], 5: [], 20: []}

    def timed(stage: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        seconds[stage] += time.perf_counter() - start
        return result

    options = {"padding": True, "truncation": True, "return_tensors": "pt"}
    with torch.inference_mode():
        vectors = []
        for first in range(0, len(asked.passages), 16):
            few = asked.passages[first : first + 16]
            tokens = tokenize([row.title or "" for row in few], [row.text for row in few], max_length=512, **options)
            vectors.append(context(**tokens).pooler_output.numpy())
        corpus = np.concatenate(vectors)
        for question in questions:
            vector = timed(
                "encode", lambda q=question.text: encoder(**ask(q, return_tensors="pt")).pooler_output[0].numpy()
            )
            order = timed("search", lambda v=vector: np.argsort(-(corpus @ v), kind="stable"))
            rows = [asked.passages[place] for place in order[:READ]]

            def read(rows: Sequence[Any] = rows, text: str = question.text) -> list[Any]:
                titles, texts = [row.title or "" for row in rows], [row.text for row in rows]
                encoded = tokenizer(text, titles, texts, max_length=512, **options)
                found: list[Any] = tokenizer.decode_best_spans(encoded, reader(**encoded), 1, 10, 1)
                return found

            (span,) = timed("read", read)
            right["exact match"].append(best_score(exact_match, span.text, question.answers))
            right["F1"].append(best_score(f1, span.text, question.answers))
            hits = [has_answer(row.text, question.answers) for row in rows]
            for k, its in top.items():
                its.append(any(hits[:k]))
    return {
        "top": {str(k): sum(its) / len(its) for k, its in top.items()},
        **{name: sum(its) / len(its) for name, its in right.items()},
        "milliseconds": {stage: 1000 * each / len(questions) for stage, each in seconds.items()},
        "questions": len(questions),
    }


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    job.__name__: job for job in (make_models, encode_ours, encode_transformers, answer_ours, answer_transformers)
}

if __name__ == "__main__":
    name, folder, *rest = sys.argv[1:]
    print(json.dumps(JOBS[name](Path(folder), *rest)))
