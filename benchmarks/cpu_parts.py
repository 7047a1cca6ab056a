"""The parts of the CPU benchmark: the model call alone, strings to vectors, answers, and the machine's limits.

Each part keeps its results line by line (a shape, or a set of passages), by contender. Once the time of the run is
over, no further line begins.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.harness.command import Run
from benchmarks.harness.contenders import BASELINE, CPU_CONTENDERS, OURS, OURS_ORT, STRONGEST
from benchmarks.harness.processes import run_measured
from benchmarks.harness.tables import SHAPES, format_ms, shape_name
from benchmarks.harness.texts import QUESTION, make_texts, random_feeds, read_passages
from benchmarks.harness.worker_group import COMPILE_SECONDS, WorkerGroup, load_group
from benchmarks.harness.workers import Request, WorkerError
from dpr_export.models.kinds import CONTEXT, READER
from dpr_export.models.tokenization.encoder_tokenizers import DPRContextEncoderTokenizer
from dpr_export.runtime.corpus import Passage

ALL_AT_ONCE, IN_BATCHES = "transformers, one batch", "transformers, batches of 8"
TUNED = "sentence-transformers, best batch size"
MIXED = "mixed"
_BATCH_SIZES = (1, 4, 8, 16, 32, 64)
_LINES = 30  # a line's rounds take at most this part of the run's time; loading, warm-up and compilers take the rest
_COMPILE = 8  # a first call, which may compile, takes at most this part of it


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much one run measures, at most."""

    kinds: Sequence[str] = (CONTEXT.name,)  # of model, for the model calls and the limits
    rounds: Sequence[int] = (15, 11, 7, 5)  # of each shape; those at the end without a number are left out
    string_rounds: Sequence[int] = (15, 11, 7, 5)  # of strings of each shape
    passages: int = 1000  # of mixed lengths, that are encoded
    passes: int = 3  # over them
    answer_passages: int = 50  # that a question is answered from
    answer_rounds: int = 3


QUICK = Amounts(rounds=(3, 3, 3, 3), string_rounds=(3, 3, 3, 3), passages=60, passes=2, answer_passages=6)
WITHIN_BUDGET = Amounts(rounds=(15, 11, 7), string_rounds=(), passages=30, answer_passages=20)


def time_line(run: Run, group: WorkerGroup, names: Iterable[str], rounds: int, **options: Any) -> dict[str, Any]:
    """Time all contenders of a line within its part of the run's time; return a record for each."""
    seconds = run.seconds / _LINES if run.seconds else None
    return group.as_records(group.time_calls(list(names), rounds, seconds=seconds, **options))


def describe(title: str, records: Mapping[str, Any]) -> str:
    """One line with the milliseconds of each contender."""
    times = (f"{name} {format_ms(record['ms']) if 'ms' in record else '-'}" for name, record in records.items())
    return f"{title}, ms: {', '.join(times)}"


def measure_model_calls(run: Run, amounts: Amounts) -> None:
    """The model call alone: token ids to vectors or logits."""
    rows = {contender.name: contender for contender in CPU_CONTENDERS}
    for kind in amounts.kinds:
        with load_group(run, kind, rows) as group:
            cosines: dict[str, float] = {}
            for shape, rounds in zip(SHAPES, amounts.rounds, strict=False):
                if run.is_over:
                    break
                name = shape_name(shape)
                run.say(f"{kind} {name}: warm up")
                timeout = min(COMPILE_SECONDS, run.seconds / _COMPILE) if run.seconds else COMPILE_SECONDS
                job = {"feeds": random_feeds(kind, shape)}
                answers = group.prepare(dict.fromkeys(rows, job), timeout)
                for contender, cosine in compare_rows(answers, BASELINE.name).items():
                    cosines[contender] = min(cosine, cosines.get(contender, 1.0))
                run.say(f"{kind} {name}: at most {rounds} rounds")
                records = time_line(run, group, rows, rounds)
                run.keep(group.engines, "model-calls", kind, "engines")
                run.keep(cosines, "model-calls", kind, "cosines")
                run.keep(records, "model-calls", kind, "shapes", name, line=describe(f"{kind} {name}", records))


def compare_rows(answers: Mapping[str, Request], baseline: str) -> dict[str, float]:
    """The cosine of each contender's first row with the baseline's: it shows a contender that computes something else.

    >>> compare_rows({"theirs": {"row": [1.0, 0.0]}, "ours": {"row": [2.0, 0.0]}, "silent": {"row": []}}, "theirs")
    {'theirs': 1.0, 'ours': 1.0}
    """
    expected = np.asarray(answers.get(baseline, {}).get("row", ()))
    rows = {name: np.asarray(answer["row"]) for name, answer in answers.items() if answer.get("row") and len(expected)}
    return {
        name: float(row @ expected / (np.linalg.norm(row) * np.linalg.norm(expected))) for name, row in rows.items()
    }


def measure_strings(run: Run, amounts: Amounts) -> None:
    """From strings to vectors with the context encoder: exact lengths, and passages of mixed lengths."""
    ours = {each.name: each for each in (OURS_ORT, OURS)}
    rows = {BASELINE.name: BASELINE, STRONGEST.name: STRONGEST, TUNED: STRONGEST, **ours}
    with load_group(run, CONTEXT.name, rows) as group:
        tokenizer = DPRContextEncoderTokenizer.from_pretrained(run.work.model(CONTEXT.name, "checkpoint"))
        source, passages = read_passages(amounts.passages)
        texts = [passage.text for passage in passages]
        run.say("strings: find the best batch size of sentence-transformers")
        batch = _best_batch(group, texts[:: max(2, len(texts) // 64)][:64])
        sizes = {BASELINE.name: 32, STRONGEST.name: 32, TUNED: batch, **dict.fromkeys(ours, 0)}  # 32: its default
        run.keep(batch, "strings", "tuned_batch_size")
        run.keep(group.engines, "strings", "engines")

        def prepare(texts: Sequence[str], **options: Any) -> None:
            group.prepare({name: {"texts": texts, "batch_size": size, **options} for name, size in sizes.items()})

        for shape, rounds in zip(SHAPES, amounts.string_rounds, strict=False):
            if run.is_over:
                return
            name = shape_name(shape)
            run.say(f"strings {name}")
            prepare(make_texts(texts, *shape, lambda text: len(tokenizer(text)["input_ids"])))
            records = time_line(run, group, rows, rounds)
            run.keep(records, "strings", "lines", name, line=describe(f"strings {name}", records))
        run.say(f"strings: {len(texts)} passages of mixed lengths")
        prepare(texts[:8])
        prepare(texts, warm_up=False)
        records = time_line(run, group, rows, amounts.passes, most={BASELINE.name: 1})
        lengths = np.asarray([len(ids) for ids in tokenizer(texts, truncation=True, max_length=512)["input_ids"]])
        tokens = {"least": lengths.min(), "median": np.median(lengths), "mean": lengths.mean(), "most": lengths.max()}
        tokens = {name: float(value) for name, value in tokens.items()}
        run.keep({"source": source, "count": len(texts), "tokens": tokens}, "strings", "passages")
        title = f"strings, {len(texts)} passages of mixed lengths"
        run.keep(records, "strings", "lines", MIXED, line=describe(title, records))


def _best_batch(group: WorkerGroup, sample: Sequence[str]) -> int:
    """The batch size with which sentence-transformers encodes a sample fastest."""
    seconds: dict[int, float] = {}
    for size in _BATCH_SIZES:
        group.prepare({TUNED: {"texts": sample, "batch_size": size, "warm_up": False}})
        if times := group.time_calls([TUNED], 2)[TUNED]:
            seconds[size] = min(times)
    return min(seconds, key=lambda size: seconds[size], default=32)


def measure_answers(run: Run, amounts: Amounts) -> None:
    """One question over many passages, with tokenizing and decoding."""
    count = amounts.answer_passages
    sizes = {ALL_AT_ONCE: count, IN_BATCHES: 8, OURS_ORT.name: 0, OURS.name: 0}
    rows = dict(zip(sizes, (BASELINE, BASELINE, OURS_ORT, OURS), strict=True))
    with load_group(run, READER.name, rows) as group:
        source, passages = read_passages(count)

        def prepare(used: Sequence[Passage], **options: Any) -> None:
            job = {
                "question": QUESTION,
                "titles": [row.title or "" for row in used],
                "texts": [row.text for row in used],
            }
            group.prepare({name: {**job, "batch_size": size, **options} for name, size in sizes.items()})

        run.say(f"answer: {count} passages")
        prepare(passages[:8])
        prepare(passages, warm_up=False)
        records = time_line(run, group, rows, amounts.answer_rounds)
        run.keep(group.engines, "answer", "engines")
        run.keep({"source": source, "count": count}, "answer", "passages")
        run.keep(records, "answer", "lines", "answer", line=describe(f"answer from {count} passages", records))


def measure_limits(run: Run, amounts: Amounts) -> None:
    """What benchmarks/harness/limits.py measures, in a process of its own, or the reason that it measured nothing."""
    for kind in amounts.kinds:
        run.say(f"{kind}: limits")
        try:
            folder = run.make_model(kind, *OURS.needs)
            command = [sys.executable, "-m", "benchmarks.harness.limits", kind, folder, run.threads]
            measured = run_measured(command, run.work.variables, run.work.log(f"limits {kind}"))
            run.keep(json.loads(measured.output), "limits", kind)
        except WorkerError as error:
            run.keep({"reason": str(error)}, "limits", kind)


PARTS: dict[str, Callable[[Run, Amounts], None]] = {
    "model-calls": measure_model_calls,
    "strings": measure_strings,
    "answer": measure_answers,
    "limits": measure_limits,
}
