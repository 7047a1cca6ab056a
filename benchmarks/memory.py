"""Measure the time and memory to make and to start the variants: python -m benchmarks.memory

Making runs the commands that a user types, one for each variant. Random weights may miss the bounds of INT8; then all
settings are tried, which is the longest that making takes. Starting is from process start to the first vector or
answer. (Whether memory grows over many calls is what `python -m tests.hostile.soak` tests.)
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.markup import escape

from benchmarks.harness.command import Run, make_parser, start
from benchmarks.harness.contenders import OURS_AND_BASELINE
from benchmarks.harness.processes import DPR_EXPORT, Measured, run_measured
from benchmarks.harness.tables import Results, show_machine, show_notes, show_table
from benchmarks.harness.texts import QUESTION as QUESTION_TEXT
from benchmarks.harness.workers import WorkerError
from dpr_export.models.kinds import KINDS, QUESTION, READER

MAKING: dict[str, tuple[str, ...]] = {
    "onnxruntime and openvino fp32": (),
    "openvino int8": ("--precision", "int8", "--backend", "openvino"),
    "onnxruntime int8": ("--precision", "int8", "--backend", "onnxruntime"),
    "onnxruntime fp16": ("--precision", "fp16", "--backend", "onnxruntime"),
    "tensorrt fp16": ("--precision", "fp16", "--backend", "tensorrt"),
}
STARTS = 3
START = """
import json, sys
from benchmarks.harness.contenders import LOADERS
request, job = map(json.loads, sys.argv[1:])
_, prepare = LOADERS[request["loader"]](request)
print(prepare(job)(), flush=True)
"""


def measure_making(run: Run, kind: str) -> None:
    """Measure each step of making an exported folder."""
    checkpoint = run.make_model(kind, "checkpoint")
    folder, before = run.work.model(kind, "exported-by-command"), dict[str, int]()
    shutil.rmtree(folder, ignore_errors=True)
    for name, options in MAKING.items():
        run.say(f"{kind}: make {name}")
        source = [folder, *options] if options else [checkpoint, "-o", folder]
        try:
            measured = run_measured([DPR_EXPORT, *source, "--allow-loss", "--json"], run.work.variables)
        except WorkerError as error:
            keep(run, {"reason": str(error)}, kind, "making", name)
            continue
        manifest = json.loads(measured.output)
        sizes = {file: one["bytes"] for file, one in manifest["files"].items() if file.endswith(".onnx")}
        new = {file: size / 1e6 for file, size in sizes.items() if file not in before}
        notes = [f"{Path(file).name} {size:,.0f} MB" for file, size in new.items()]
        drops = [each["accuracy_drop"] for each in manifest["variants"] if each["file"] in new]
        notes += [drop["settings"] for drop in drops if drop]
        keep(run, {**as_record(measured), "files": new, "note": "; ".join(notes)}, kind, "making", name)
        before = sizes


def as_record(measured: Measured) -> dict[str, Any]:
    return {"s": measured.first_line_seconds, "peak MB": measured.peak_bytes / 1e6}


def keep(run: Run, record: dict[str, Any], kind: str, part: str, name: str) -> None:
    """Keep a record; its keys are the columns of a table, except for "reason", "note" and "files"."""
    values = ", ".join(f"{what} {value:,.1f}" for what, value in record.items() if isinstance(value, float))
    run.keep(record, "kinds", kind, part, name, line=f"{kind}, {part}, {name}: {values or record['reason']}")


def measure_starting(run: Run, kind: str) -> None:
    """Measure first and second starts; contenders take turns, each with a new cache folder every time."""
    job = {"question": QUESTION_TEXT, "titles": [""], "texts": [QUESTION_TEXT], "batch_size": 1}
    times: dict[str, dict[str, list[float]]] = {row.name: {} for row in OURS_AND_BASELINE}
    failed = set()
    starts = range(1 if run.quick else STARTS)
    for number, row in ((number, row) for number in starts for row in OURS_AND_BASELINE if row.name not in failed):
        folder = run.make_model(kind, *row.needs)
        run.say(f"{kind}: start {number + 1}, {row.name}")
        request = {"kind": kind, "folder": str(folder), "threads": run.threads, **row.options}
        command = [sys.executable, "-c", START, json.dumps(request), json.dumps(job)]
        with tempfile.TemporaryDirectory(dir=run.work.path) as cache:
            try:
                for which in ("first", "second"):
                    measured = run_measured(command, {**run.work.variables, "XDG_CACHE_HOME": cache})
                    for what, value in as_record(measured).items():
                        times[row.name].setdefault(f"{which} {what}", []).append(value)
            except WorkerError as error:
                failed.add(row.name)
                keep(run, {"reason": str(error)}, kind, "starting", row.name)
                continue
        medians = {what: median(values) for what, values in times[row.name].items()}
        keep(run, medians, kind, "starting", row.name)


PARTS: dict[str, Callable[[Run, str], None]] = {"making": measure_making, "starting": measure_starting}


def show(results: Results, console: Console) -> None:
    """Print a table for each part and kind of model."""
    show_machine(results["about"], console)
    tables = {f"{kind}: {part}": parts[part] for kind, parts in results["kinds"].items() for part in parts}
    for title, records in tables.items():
        columns = max(([what for what in one if isinstance(one[what], float)] for one in records.values()), key=len)
        rows = [[escape(name), *(f"{one.get(what, 0):,.1f}" for what in columns)] for name, one in records.items()]
        show_table(console, title, ("", *columns), rows)
        notes = ((name, one[what]) for name, one in records.items() for what in ("reason", "note") if what in one)
        show_notes(console, notes)


def main() -> None:
    parser = make_parser("memory", __doc__, "tiny models, one start")
    parser.add_argument("--only", action="append", choices=[*PARTS], help="a part to run (all); repeatable")
    parser.add_argument(
        "--kind", action="append", choices=[*KINDS], help="a kind of model (question and reader); repeatable"
    )
    given = parser.parse_args()
    run = start(parser, given, "10 to 30 minutes for each kind of model", show)
    for kind in given.kind or (QUESTION.name, READER.name):
        for part in given.only or PARTS:
            PARTS[part](run, kind)
    show(run.results, run.console)


if __name__ == "__main__":
    main()
