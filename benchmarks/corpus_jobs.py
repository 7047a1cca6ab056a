"""The jobs of the corpus benchmark, each in a process of its own: python -m benchmarks.corpus_jobs JOB DEMO ...

DEMO is the folder of the demo models, with a checkpoint and an exported folder of each kind. A job prints what it
measured as one line of JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from dpr_export.models.kinds import KINDS
from dpr_export.models.telemetry import no_telemetry
from dpr_export.runtime.corpus import Models, encode_corpus, read_corpus, read_questions
from dpr_export.runtime.corpus.evaluation.evaluate import evaluate
from dpr_export.runtime.corpus.evaluation.squad_metrics import best_score, exact_match, f1
from dpr_export.runtime.corpus.retrieval.answer_matching import has_answer

BATCH, LENGTH = 512, 256  # of facebookresearch/DPR
READ = 20  # passages that the reader reads for each question


def encode_ours(demo: Path, precision: str, passages: str, output: str, *ray: str) -> dict[str, Any]:
    """Encode a corpus, on Ray if the numbers of its workers and of each one's threads are given.

    Returns:
        The passages, the seconds, and the share of the time that each stage is busy.
    """
    workers, threads = map(int, ray) if ray else (None, None)
    done = encode_corpus(
        demo / "context" / "exported",
        passages,
        output,
        precision=precision,
        backend="openvino",
        shard_size=2048,
        threads=threads,
        ray="local" if ray else None,
        workers=workers,
    )
    busy = {stage: seconds / done.seconds for stage, seconds in done.stage_seconds.items()}
    return {"passages": done.passages, "seconds": done.seconds, "busy": busy}


def load_transformers(demo: Path, kind: str) -> tuple[Any, Any]:
    """The tokenizer and the model of a checkpoint."""
    with no_telemetry():
        import transformers

    folder, name = demo / kind / "checkpoint", KINDS[kind].architecture
    tokenizer = getattr(transformers, f"{name}Tokenizer").from_pretrained(folder)
    return tokenizer, getattr(transformers, name).from_pretrained(folder).eval()


def encode_transformers(demo: Path, passages: str, count: str) -> dict[str, Any]:
    """Encode the first passages as facebookresearch/DPR does: in batches of 512, padded to 256 tokens."""
    import torch

    rows = [row for _, row in zip(range(int(count)), read_corpus(passages), strict=False)]
    tokenizer, model = load_transformers(demo, "context")
    start = time.perf_counter()
    with torch.inference_mode():
        for first in range(0, len(rows), BATCH):
            batch = rows[first : first + BATCH]
            texts = ([row.title or "" for row in batch], [row.text for row in batch])
            model(**tokenizer(*texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt"))
    return {"passages": len(rows), "seconds": time.perf_counter() - start, "busy": {}}


def answer_ours(demo: Path, precision: str, data: str) -> dict[str, Any]:
    """Answer every question with one variant."""
    models = Models(*(str(demo / kind / "exported") for kind in ("question", "context", "reader")))
    (score,) = evaluate(data, models, variants=[f"openvino-{precision}"], read=READ)
    return {
        "top": {str(k): share for k, share in score.top_k.items()},
        "exact match": score.exact_match,
        "F1": score.f1,
        "milliseconds": score.milliseconds,
        "questions": score.questions,
    }


def answer_transformers(demo: Path, data: str) -> dict[str, Any]:
    """Answer every question with the same pipeline in transformers."""
    import numpy as np
    import torch

    loaded = read_questions(data)
    questions = loaded.questions
    (ask, encoder), (tokenize, context), (tokenizer, reader) = (
        load_transformers(demo, kind) for kind in ("question", "context", "reader")
    )
    options = {"padding": True, "truncation": True, "max_length": 512, "return_tensors": "pt"}
    seconds = dict.fromkeys(("encode", "search", "read"), 0.0)
    scores: dict[str, list[float]] = {"exact match": [], "F1": [], "1": [], "5": [], "20": []}
    with torch.inference_mode():
        vectors = []
        for first in range(0, len(loaded.passages), 16):
            batch = loaded.passages[first : first + 16]
            tokens = tokenize([row.title or "" for row in batch], [row.text for row in batch], **options)
            vectors.append(context(**tokens).pooler_output.numpy())
        corpus = np.concatenate(vectors)
        for question in questions:
            times = [time.perf_counter()]
            vector = encoder(**ask(question.text, return_tensors="pt")).pooler_output[0].numpy()
            times.append(time.perf_counter())
            order = np.argsort(-(corpus @ vector), kind="stable")
            times.append(time.perf_counter())
            rows = [loaded.passages[place] for place in order[:READ]]
            titles, texts = [row.title or "" for row in rows], [row.text for row in rows]
            encoded = tokenizer(question.text, titles, texts, **options)
            (span,) = tokenizer.decode_best_spans(encoded, reader(**encoded), 1, 10, 1)
            times.append(time.perf_counter())
            for number, stage in enumerate(seconds):
                seconds[stage] += times[number + 1] - times[number]
            scores["exact match"].append(best_score(exact_match, span.text, question.answers))
            scores["F1"].append(best_score(f1, span.text, question.answers))
            hits = [has_answer(row.text, question.answers) for row in rows]
            for k in (1, 5, 20):
                scores[str(k)].append(any(hits[:k]))
    means = {name: sum(values) / len(values) for name, values in scores.items()}
    return {
        "top": {k: means.pop(k) for k in ("1", "5", "20")},
        **means,
        "milliseconds": {stage: 1000 * each / len(questions) for stage, each in seconds.items()},
        "questions": len(questions),
    }


if __name__ == "__main__":
    name, folder, *rest = sys.argv[1:]
    print(json.dumps(globals()[name](Path(folder), *rest)))
