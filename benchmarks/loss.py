"""What each variant loses on real questions, and how fast it reads them: python -m benchmarks.loss

The demo models answer and find the questions of `xquad_dev.json`, by the same code that measures them in PyTorch
(scripts/demo_training/evaluate.py): the reader's exact match and F1 of the best span in the question's own passage, and
how often the encoders find that passage among all. DPR_EXPORT_DATA names the folder that holds the file.

612 questions carry a standard error of two points, more than a variant ought to lose. So each question is compared
with what the original makes of it, in PyTorch and float32: what was right and is wrong now is lost, and the other way
round won. Both encoders of a pair are of the same variant. Passes are timed, in the same batches for all contenders.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.contenders import BASELINE, Contender
from benchmarks.making import made
from benchmarks.place import Place, Size
from benchmarks.results import about, write
from benchmarks.team import Say, team
from benchmarks.workers import ROOT, Call, Prepare, Request, serve
from dpr_export.models.artifact.atomic_writing import atomic_folder
from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.variants import RUNTIME_PRECISIONS
from dpr_export.models.kinds import CONTEXT, KINDS, QUESTION, READER
from dpr_export.runtime.corpus.evaluation.squad_metrics import best_score, exact_match, f1
from dpr_export.runtime.corpus.squad import read_squad
from dpr_export.runtime.engines.processors import usable_processors
from dpr_export.runtime.engines.session import SESSION_CLASSES

DEMO = Size("demo", {})
FILE = "xquad_dev.json"
SAVED = Path(__file__).parent / "results" / "loss.json"
PASSES, QUICK_QUESTIONS = 3, 40
Records = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """What is measured together."""

    name: str
    kinds: tuple[str, ...]  # of model; the first is where workers are at home
    metrics: tuple[str, ...]  # the first is what a question is lost or won by


TASKS = (
    Task("reader", (READER.name,), ("exact match", "F1")),
    Task("encoders", (QUESTION.name, CONTEXT.name), ("top-1", "top-5")),
)


def load(request: Request) -> tuple[str, Prepare]:
    """The models of a task, by one engine, for `workers.serve`. The original is the one without a backend."""
    import torch

    from dpr_export.exporter.demo.base import base_tokenizer

    torch.set_num_threads(1 if "backend" in request else request["threads"])
    models = [_model(request, kind, folder) for kind, folder in request["folders"].items()]

    def prepare(job: Request) -> Call:
        passages, _, questions = read_squad(job["squad"]).answerable()
        found = _reader_call if len(models) == 1 else _encoders_call
        tokenizer = base_tokenizer(request["kind"])
        return found(models, tokenizer, passages[: job["passages"]], questions[: job["questions"]])

    engine = models[0].explain().partition("\n")[0] if "backend" in request else f"torch {torch.__version__}"
    return engine, prepare


def _model(request: Request, kind: str, folder: str) -> Any:
    architecture = KINDS[kind].architecture
    if "backend" not in request:
        import transformers

        return getattr(transformers, architecture).from_pretrained(folder).eval()
    from dpr_export import runtime

    options = {name: request[name] for name in ("backend", "precision", "threads")}
    return getattr(runtime, architecture).from_pretrained(folder, **options)


def _reader_call(models: Sequence[Any], tokenizer: Any, passages: Sequence[Any], questions: Sequence[Any]) -> Call:
    """One row: the exact match of each question, then the F1 of each."""
    from scripts.demo_training.evaluate import read

    pairs = [(question.text, passages[question.passage]) for question in questions]
    golds = [[answer.text for answer in question.answers] for question in questions]

    def call() -> list[list[float]]:
        answers = [reading.answer for reading in read(models[0], tokenizer, pairs)]
        return [[best_score(score, *pair) for score in (exact_match, f1) for pair in zip(answers, golds, strict=True)]]

    return call


def _encoders_call(models: Sequence[Any], tokenizer: Any, passages: Sequence[Any], questions: Sequence[Any]) -> Call:
    """One row: for each question whether its passage is the first, then whether it is among the first five."""
    import torch

    from scripts.demo_training.evaluate import vectors

    asked = [(row.ids, row.type_ids) for row in tokenizer.encode_batch([question.text for question in questions])]
    held = [
        (row.ids, row.type_ids) for row in tokenizer.encode_batch([(one.title or "", one.text) for one in passages])
    ]
    places = torch.tensor([[question.passage] for question in questions])

    def call() -> list[list[float]]:
        scores = vectors(models[0], asked) @ vectors(models[1], held).T
        better = (scores > scores.gather(1, places)).sum(dim=1)
        return [[*(better < 1).float().tolist(), *(better < 5).float().tolist()]]

    return call


def prepared(place: Place, kind: str, say: Say) -> ExportedFolder:
    """The demo model of a kind as checkpoint and exported, with every variant that this machine can run."""
    if not place.of(kind, "checkpoint").is_dir():
        say(f"{kind}: checkpoint")
        from dpr_export.exporter.demo.checkpoint import write_checkpoint

        with atomic_folder(place.of(kind, "checkpoint")) as folder:
            write_checkpoint(kind, folder)
    say(f"{kind}: exported, with fp16")
    exported = made(place, kind, "exported")
    if not any(variant.precision == "fp16" for variant in ExportedFolder.open(exported).manifest.variants):
        command = [str(Path(sys.executable).with_name("dpr-export")), str(exported), "--precision", "fp16"]
        with place.log(f"make {kind} fp16").open("w", encoding="utf-8") as log:
            subprocess.run([*command, "--backend", "onnxruntime", "--allow-loss"], check=True, stdout=log, stderr=log)
    return ExportedFolder.open(exported)


def contenders(place: Place, task: Task, exported: Mapping[str, ExportedFolder]) -> dict[str, Contender]:
    """The original, and every variant that the folders of all kinds hold, by name."""

    def contender(name: str, what: str, **options: str) -> Contender:
        folders = {kind: str(place.of(kind, what)) for kind in task.kinds}
        return Contender(name, (what,), {"folders": folders, **options}, "accuracy_drop", task.kinds)

    held = [{(v.backend, v.precision): None for v in exported[kind].manifest.variants} for kind in task.kinds]
    pairs = [pair for pair in held[0] if pair[0] in SESSION_CLASSES and all(pair in other for other in held)]
    pairs += [(stored[0], precision) for precision, stored in RUNTIME_PRECISIONS.items() if stored in pairs]
    rows = [contender(BASELINE.name, "checkpoint")]
    rows += [contender(_name(b, p), "exported", backend=b, precision=p) for b, p in sorted(pairs)]
    return {row.name: row for row in rows}


def _name(backend: str, precision: str) -> str:
    return f"dpr-export {backend} {precision}"


def measured(place: Place, task: Task, job: Request, passes: int, threads: int, say: Say) -> Records:
    """The metrics and times of all contenders of a task."""
    exported = {kind: prepared(place, kind, say) for kind in task.kinds}
    rows = contenders(place, task, exported)
    with team(place, task.kinds[0], rows, threads, say) as loaded:
        say(f"{task.name}: metrics")
        found = loaded.prepare(dict.fromkeys(rows, job))
        say(f"{task.name}: {passes} passes")
        records = loaded.records(loaded.seconds(list(rows), passes))
    for name, numbers in found.items():
        records[name].update(metrics(task, numbers, found[BASELINE.name]))
    for v in (variant for folder in exported.values() for variant in folder.manifest.variants):
        records.get(_name(v.backend, v.precision), {}).setdefault("below_bound", []).extend(
            v.accuracy_drop.below_bound if v.accuracy_drop else ()
        )
    return {"rows": records, "engines": loaded.engines}


def metrics(task: Task, numbers: Sequence[float], original: Sequence[float]) -> Records:
    """The means of a row of outcomes, and how many questions changed by the first of them.

    >>> metrics(TASKS[0], [1, 0, 1, 0.5], [1, 1, 1, 1])
    {'exact match': 0.5, 'F1': 0.75, 'lost': 1, 'won': 0}
    """
    count = len(numbers) // 2
    pairs = list(zip(numbers[:count], original[:count], strict=True))
    means = dict(zip(task.metrics, (fmean(numbers[:count]), fmean(numbers[count:])), strict=True))
    return {**means, "lost": sum(new < old for new, old in pairs), "won": sum(new > old for new, old in pairs)}


def show(results: Records, console: Console) -> None:
    """A table a task. Ratios are how many times faster than the original a pass is."""
    data = results["data"]
    for task in TASKS:
        rows, texts = results[task.name]["rows"], data["texts"][task.name]
        right, original = rows[BASELINE.name][task.metrics[0]], rows[BASELINE.name]["ms"]
        title = f"{task.name}: {data['questions']} questions, standard error"
        console.print(
            f"[bold underline]{title} {sqrt(right * (1 - right) / data['questions']):.1%}[/]", highlight=False
        )
        shares = [f"{name} %" for name in task.metrics]
        table = Table("", *shares, "lost", "won", "flipped", "texts/s", "x", box=None, pad_edge=False)
        for column in table.columns[1:]:
            column.justify = "right"
        notes = {name: row["reason"] for name, row in rows.items() if "reason" in row}
        for name, row in ((name, row) for name, row in rows.items() if name not in notes):
            flipped = (row["lost"] + row["won"]) / data["questions"]
            shares = [f"{100 * row[figure]:.1f}" for figure in task.metrics]
            speed = (f"{1000 * texts / row['ms']:,.0f}", f"{original / row['ms']:.1f}")
            table.add_row(escape(name), *shares, str(row["lost"]), str(row["won"]), f"{flipped:.1%}", *speed)
        notes |= {
            name: f"misses {', '.join(row['below_bound'])}" for name, row in rows.items() if row.get("below_bound")
        }
        lines = [escape(f"- {name}: {note}") for name, note in notes.items()]
        console.print(table, *lines, "", sep="\n", highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loss", description=(__doc__ or "").partition("\n")[0])
    work = Path(tempfile.gettempdir(), "dpr-export-bench")
    parser.add_argument("--work", type=Path, default=work, help=f"working folder ({work})")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_QUESTIONS} questions, one pass: whether it works")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--save", action="store_true", help=f"write them to {SAVED.relative_to(ROOT)}")
    given = parser.parse_args()
    squad = Path(os.environ.get("DPR_EXPORT_DATA", ""), FILE).resolve()
    if not os.environ.get("DPR_EXPORT_DATA") or not squad.is_file():
        sys.exit(f"set DPR_EXPORT_DATA to the folder that holds {FILE} (XQuAD's English questions, in SQuAD's format)")
    passages, _, questions = read_squad(squad).answerable()
    count, held, passes = len(questions), len(passages), PASSES
    if given.quick:
        count, held, passes = QUICK_QUESTIONS, questions[QUICK_QUESTIONS].passage + 1, 1
    place, threads = Place(given.work.resolve(), DEMO, given.work / "peer"), usable_processors()
    data = {"file": FILE, "questions": count, "passages": held, "texts": {"reader": count, "encoders": count + held}}
    job = {"squad": str(squad), "questions": count, "passages": held}
    results: Records = {"about": about(given.quick, threads), "data": data}
    progress = Console(stderr=True)
    with progress.status("start") as status:

        def say(text: str) -> None:
            status.update(text) if progress.is_terminal else progress.print(text, highlight=False)

        for task in TASKS:
            results[task.name] = measured(place, task, job, passes, threads, say)
    for path in filter(None, (given.json, SAVED if given.save else None)):
        write(results, path)
    show(results, Console() if Console().is_terminal else Console(width=100))


if __name__ == "__main__":
    serve(load) if sys.argv[1:] == ["serve"] else main()
