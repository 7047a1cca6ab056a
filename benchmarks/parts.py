"""The three parts that compare contenders: the model call alone, strings to vectors, and answers.

Each returns what the tables and the JSON file show, as plain dictionaries: by shape or line, then by contender.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.contenders import BASELINE, CONTENDERS, OURS, STRONGEST, Contender
from benchmarks.place import SHAPES, Place, shape_name
from benchmarks.team import Say, Team, team
from benchmarks.texts import QUESTION, Passage, of_length, passages
from dpr_export.models.kinds import KINDS, READER

Records = dict[str, Any]
ALL_AT_ONCE, IN_BATCHES = "transformers, one batch", "transformers, batches of 8"
TUNED = "sentence-transformers, tuned"
_VOCABULARY = (1000, 30000)  # ids of whole words
_BATCH_SIZES = (1, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything one run does.

    Attributes:
        rounds: timed calls of each contender, by shape.
        passages: how many passages of mixed lengths are encoded.
        passes: how often they are.
        answers: how often `answer` is called, over how many passages.
        kinds: the kinds of model whose calls are timed.
    """

    rounds: dict[tuple[int, int], int]
    passages: int = 1000
    passes: int = 3
    answers: tuple[int, int] = (3, 50)
    kinds: Sequence[str] = tuple(KINDS)


FULL = Plan({(1, 16): 15, (1, 128): 11, (8, 128): 7, (16, 256): 5})
QUICK = Plan(dict.fromkeys(SHAPES, 3), passages=60, passes=2, answers=(2, 6))


def model_calls(place: Place, plan: Plan, threads: int, say: Say) -> Records:
    """The model call alone: tokens in, vectors or logits out."""
    results: Records = {}
    for kind in plan.kinds:
        rows = {contender.name: contender for contender in CONTENDERS}
        with team(place, kind, rows, threads, say) as loaded:
            shapes: Records = {}
            cosines: dict[str, float] = {}
            for shape in SHAPES:
                say(f"{kind} {shape_name(shape)}: warm up")
                job = {"feeds": feeds_of(kind, shape)}
                numbers = loaded.prepare(dict.fromkeys(rows, job))
                for name, cosine in _cosines(numbers).items():
                    cosines[name] = min(cosine, cosines.get(name, 1.0))
                say(f"{kind} {shape_name(shape)}: {plan.rounds[shape]} rounds")
                shapes[shape_name(shape)] = loaded.records(loaded.seconds(list(rows), plan.rounds[shape]))
            results[kind] = {"shapes": shapes, "engines": loaded.engines, "cosines": cosines}
    return results


def feeds_of(kind: str, shape: tuple[int, int]) -> dict[str, list[list[int]]]:
    ids = np.random.default_rng(0).integers(*_VOCABULARY, shape)
    values = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return {name: values[name].tolist() for name in KINDS[kind].inputs}


def _cosines(numbers: dict[str, list[float]]) -> dict[str, float]:
    """Of each contender's first row with the baseline's: one that computes something else is seen by it."""
    expected = np.asarray(numbers.get(BASELINE.name, ()))
    norms = {name: float(np.linalg.norm(row) * np.linalg.norm(expected)) for name, row in numbers.items()}
    return {name: float(row @ expected) / norms[name] for name, row in numbers.items() if norms[name]}


def strings(place: Place, plan: Plan, threads: int, say: Say) -> Records:
    """From strings to vectors, by the context encoder: exact lengths, and passages of mixed lengths."""
    from dpr_export.models.tokenization.encoder_tokenizers import DPRContextEncoderTokenizer

    rows = {BASELINE.name: BASELINE, STRONGEST.name: STRONGEST, TUNED: STRONGEST, OURS.name: OURS}
    with team(place, "context", rows, threads, say) as loaded:
        tokenizer = DPRContextEncoderTokenizer.from_pretrained(place.of("context", "checkpoint"))
        source, found = passages(plan.passages)
        texts = [passage.text for passage in found]
        say("strings: the peer's best batch size")
        batch = _best_batch(loaded, texts[:: max(1, len(texts) // 100)])
        lines: Records = {}
        for shape in SHAPES:
            say(f"strings {shape_name(shape)}")
            made = of_length(texts, *shape, lambda text: len(tokenizer(text)["input_ids"]))
            loaded.prepare(_jobs(made, batch))
            lines[shape_name(shape)] = loaded.records(loaded.seconds(list(rows), plan.rounds[shape]))
        say(f"strings: {len(texts)} passages of mixed lengths")
        loaded.prepare(_jobs(texts[:32], batch))
        loaded.prepare(_jobs(texts, batch, warm_up=False))
        mixed = loaded.records(loaded.seconds(list(rows), plan.passes, most={BASELINE.name: 1}))
        lengths = [len(ids) for ids in tokenizer(texts, truncation=True, max_length=512)["input_ids"]]
        return {
            "lines": {**lines, "mixed": mixed},
            "engines": loaded.engines,
            "tuned_batch_size": batch,
            "passages": {"source": source, "count": len(texts), "tokens": _spread(lengths)},
        }


def _jobs(texts: Sequence[str], batch: int, **options: Any) -> dict[str, dict[str, Any]]:
    """Batches of 32 are what transformers' users write and the peer's default; ours takes no such number."""
    sizes = {BASELINE.name: 32, STRONGEST.name: 32, TUNED: batch, OURS.name: 0}
    return {name: {"texts": list(texts), "batch_size": size, **options} for name, size in sizes.items()}


def _best_batch(loaded: Team, sample: Sequence[str]) -> int:
    """The batch size with which the peer encodes a sample fastest."""
    seconds: dict[int, float] = {}
    for size in _BATCH_SIZES:
        loaded.prepare({TUNED: {"texts": list(sample), "batch_size": size}})
        if times := loaded.seconds([TUNED], 2)[TUNED]:
            seconds[size] = min(times)
    return min(seconds, key=lambda size: seconds[size], default=32)


def _spread(lengths: Sequence[int]) -> dict[str, float]:
    return {
        "least": min(lengths),
        "median": float(np.median(lengths)),
        "mean": float(np.mean(lengths)),
        "most": max(lengths),
    }


def answers(place: Place, plan: Plan, threads: int, say: Say) -> Records:
    """One question over many passages: tokenizing and decoding included."""
    rows: dict[str, Contender] = {ALL_AT_ONCE: BASELINE, IN_BATCHES: BASELINE, OURS.name: OURS}
    times, count = plan.answers
    with team(place, READER.name, rows, threads, say) as loaded:
        source, found = passages(count)

        def jobs(passages_used: Sequence[Passage], **options: Any) -> dict[str, dict[str, Any]]:
            job = {
                "question": QUESTION,
                "titles": [passage.title for passage in passages_used],
                "texts": [passage.text for passage in passages_used],
                **options,
            }
            return {name: {**job, "batch_size": size} for name, size in zip(rows, (count, 8, 0), strict=True)}

        say(f"answer: {count} passages")
        loaded.prepare(jobs(found[:8]))
        loaded.prepare(jobs(found, warm_up=False))
        records = loaded.records(loaded.seconds(list(rows), times))
        return {"lines": {"answer": records}, "engines": loaded.engines, "passages": {"source": source, "count": count}}


PARTS: dict[str, Callable[[Place, Plan, int, Say], Records]] = {
    "model-calls": model_calls,
    "strings": strings,
    "answer": answers,
}
