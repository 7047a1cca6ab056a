"""Measure the accuracy of each variant on real questions, and its speed: python -m benchmarks.accuracy

The demo models answer the questions of `xquad_dev.json` (in the folder that DPR_EXPORT_DATA names), by the code that
evaluates them after training, scripts/demo_training/evaluate.py. 612 questions have a standard error of two points,
more than a variant should lose, so each is compared with PyTorch in float32: "lost" was right there and is wrong now,
"won" is the reverse. Passes over all questions are timed, in the same batches for all contenders.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.markup import escape

from benchmarks.cpu_parts import describe
from benchmarks.harness.command import Run, make_parser, start
from benchmarks.harness.contenders import BASELINE, OURS_AND_BASELINE
from benchmarks.harness.model_files import DEMO
from benchmarks.harness.tables import Results, show_machine, show_notes, show_table
from benchmarks.harness.worker_group import load_group
from benchmarks.harness.workers import Call, Loaded, Request, serve
from dpr_export.models.kinds import CONTEXT, KINDS, QUESTION, READER
from dpr_export.models.telemetry import no_telemetry
from dpr_export.runtime.corpus.evaluation.squad_metrics import best_score, exact_match, f1
from dpr_export.runtime.corpus.squad import Squad, read_squad

FILE = "xquad_dev.json"
PASSES, QUICK_QUESTIONS = 3, 40


@dataclass(frozen=True, slots=True)
class Task:
    """Models that are evaluated together."""

    name: str
    kinds: tuple[str, ...]  # of model; both encoders are of the same variant
    metrics: tuple[str, str]  # questions are lost or won by the first


TASKS = (
    Task("reader", (READER.name,), ("exact match", "F1")),
    Task("encoders", (QUESTION.name, CONTEXT.name), ("top-1", "top-5")),
)


def load(request: Request) -> Loaded:
    """Load the models of a task on one engine, for `serve`; without a "backend", in transformers."""
    import torch

    from scripts.demo_training.base import base_tokenizer

    torch.set_num_threads(1 if "backend" in request else request["threads"])
    models = [_load_model(request, kind, folder) for kind, folder in request["folders"].items()]

    def prepare(job: Request) -> Call:
        data = read_part(job["file"], job["questions"])
        return (_reader_call if len(models) == 1 else _encoders_call)(models, base_tokenizer(request["kind"]), data)

    engine = models[0].explain().partition("\n")[0] if "backend" in request else f"torch {torch.__version__}"
    return engine, prepare


def _load_model(request: Request, kind: str, folder: str) -> Any:
    architecture = KINDS[kind].architecture
    if "backend" not in request:
        with no_telemetry():
            import transformers

        return getattr(transformers, architecture).from_pretrained(folder).eval()
    from dpr_export import runtime

    options = {name: request[name] for name in ("backend", "precision", "threads")}
    return getattr(runtime, architecture).from_pretrained(folder, **options)


def read_part(file: str | Path, count: int | None = None) -> Squad:
    """Read the first questions that have an answer, and the passages as far as they need them; None: all."""
    data = read_squad(file).answerable()
    if count is None or count >= len(data.questions):
        return data
    last = data.questions[count].passage
    return data._replace(questions=data.questions[:count], passages=data.passages[: last + 1])


def _reader_call(models: Sequence[Any], tokenizer: Any, data: Squad) -> Call:
    """A call that returns one row: the exact match of each question, then the F1 of each."""
    from scripts.demo_training.evaluate import read

    pairs = [(question.text, data.passages[question.passage]) for question in data.questions]
    right = [[answer.text for answer in question.answers] for question in data.questions]

    def call() -> list[list[float]]:
        answers = [reading.answer for reading in read(models[0], tokenizer, pairs)]
        scored = list(zip(answers, right, strict=True))
        return [[best_score(metric, *each) for metric in (exact_match, f1) for each in scored]]

    return call


def _encoders_call(models: Sequence[Any], tokenizer: Any, data: Squad) -> Call:
    """A call that returns one row: whether each question's passage ranks first, then whether it is among five."""
    from scripts.demo_training.evaluate import count_better, encoder_rows

    rows = encoder_rows(tokenizer, data)

    def call() -> list[list[float]]:
        better = count_better(models, rows, data)
        return [[*(better < 1).float().tolist(), *(better < 5).float().tolist()]]

    return call


def measure(run: Run, task: Task, job: Request, passes: int) -> None:
    """Measure the metrics and times of transformers, and of each variant that this machine can run."""
    contenders = {}
    for row in OURS_AND_BASELINE:
        folders = {kind: str(run.make_model(kind, *row.needs)) for kind in task.kinds}
        contenders[row.name] = replace(row, options={**row.options, "folders": folders}, module="accuracy")
    with load_group(run, task.kinds[0], contenders) as group:
        run.say(f"{task.name}: warm up, then {passes} passes")
        answers = group.prepare(dict.fromkeys(contenders, job), timeout=3600)
        records = group.as_records(group.time_calls(list(contenders), passes))
    for name, answer in answers.items():
        records[name].update(score(task, answer["row"], answers[BASELINE.name]["row"]))
    run.keep({"rows": records, "engines": group.engines}, task.name, line=describe(task.name, records))


def score(task: Task, row: Sequence[float], reference: Sequence[float]) -> Results:
    """The means of a row of outcomes, and how many questions differ from the reference by the first metric.

    >>> score(TASKS[0], [1, 0, 1, 0.5], [1, 1, 1, 1])
    {'exact match': 0.5, 'F1': 0.75, 'lost': 1, 'won': 0}
    """
    count = len(row) // 2
    pairs = list(zip(row[:count], reference[:count], strict=True))
    means = dict(zip(task.metrics, (fmean(row[:count]), fmean(row[count:])), strict=True))
    return {**means, "lost": sum(new < old for new, old in pairs), "won": sum(new > old for new, old in pairs)}


def show(results: Results, console: Console) -> None:
    """Print a table for each task. Ratios are how many times faster than transformers a pass is."""
    show_machine(results["about"], console)
    count = results["data"]["questions"]
    for task in (task for task in TASKS if task.name in results):
        records, texts = results[task.name]["rows"], results["data"]["texts"][task.name]
        right, slowest = records[BASELINE.name][task.metrics[0]], records[BASELINE.name]["ms"]
        rows = []
        for name, record in ((name, record) for name, record in records.items() if "reason" not in record):
            shares = (f"{100 * record[metric]:.1f}" for metric in task.metrics)
            speed = (f"{1000 * texts / record['ms']:,.0f}", f"{slowest / record['ms']:.1f}")
            rows.append([escape(name), *shares, str(record["lost"]), str(record["won"]), *speed])
        title = f"{task.name}: {count} questions, standard error {sqrt(right * (1 - right) / count):.1%}"
        columns = ("", *(f"{metric} %" for metric in task.metrics), "lost", "won", "texts/s", "x")
        show_table(console, title, columns, rows)
        show_notes(console, ((name, record["reason"]) for name, record in records.items() if "reason" in record))


def main() -> None:
    parser = make_parser("accuracy", __doc__, f"{QUICK_QUESTIONS} questions, one pass")
    given = parser.parse_args()
    run = start(parser, given, "10 to 20 minutes", show, size=DEMO)
    file = Path(os.environ.get("DPR_EXPORT_DATA", ""), FILE).resolve()
    if not os.environ.get("DPR_EXPORT_DATA") or not file.is_file():
        sys.exit(f"set DPR_EXPORT_DATA to the folder that holds {FILE} (XQuAD's English questions, in SQuAD's format)")
    data = read_part(file, QUICK_QUESTIONS if run.quick else None)
    count, held = len(data.questions), len(data.passages)
    texts = {"reader": count, "encoders": count + held}
    run.keep({"file": FILE, "questions": count, "passages": held, "texts": texts}, "data")
    for task in TASKS:
        measure(run, task, {"file": str(file), "questions": count}, 1 if run.quick else PASSES)
    show(run.results, run.console)


if __name__ == "__main__":
    serve(load) if sys.argv[1:] == ["serve"] else main()
