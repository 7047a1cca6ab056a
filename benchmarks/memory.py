"""What making, starting and running the variants takes in memory: python -m benchmarks.memory

The models are of base size with random weights, and whatever is measured is a process of its own.

making    the commands that a user types, one a variant: time, peak memory, size of the file. Random weights may fail
          the gate; then all settings of INT8 are tried, which is the longest that making can take.
starting  from process start to the first vector or answer: with an empty cache, and with what the first start left.
running   calls of many sizes, always the same: tokens through the model, and texts through its verb. The largest call
          is the first, so that memory which grows afterwards is kept and not needed. A leak grows in the second half
          too, where an allocator has settled.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import texts as strings
from benchmarks.contenders import BASELINE, CONTENDERS
from benchmarks.making import made
from benchmarks.parts import feeds_of
from benchmarks.place import BASE, TINY, Place
from benchmarks.results import about, earlier, write
from benchmarks.team import Say, team
from benchmarks.workers import ROOT, Request, Worker, WorkerError
from dpr_export.models.kinds import KINDS, QUESTION, READER
from dpr_export.runtime.engines.processors import usable_processors

Records = dict[str, Any]  # a record's keys are the columns of its table, but for "reason", "note" and "files"
SAVED = Path(__file__).parent / "results" / "memory.json"
ROWS = tuple(row for row in CONTENDERS if row is BASELINE or row.options.get("how") == "dpr_export")
MAKING: dict[str, tuple[str, ...]] = {
    "onnxruntime and openvino fp32": (),
    "openvino int8": ("--precision", "int8", "--backend", "openvino"),
    "onnxruntime int8": ("--precision", "int8", "--backend", "onnxruntime"),
    "onnxruntime fp16": ("--precision", "fp16", "--backend", "onnxruntime"),
    "tensorrt fp16": ("--precision", "fp16", "--backend", "tensorrt"),
}
MOST_ROWS, LENGTHS, WORDS = 4, (8, 128), (4, 80)  # of a call: rows, tokens of a row; or texts, words of a text
START = """
import json, sys
from benchmarks.contenders import LOADERS
request, job = map(json.loads, sys.argv[1:])
_, prepare = LOADERS[request["how"]](request)
print(prepare(job)(), flush=True)
"""


class Plan(NamedTuple):
    calls: int = 1000  # the original, which is slow and there to compare with, makes a tenth of them
    starts: int = 3


def making(place: Place, kind: str, plan: Plan, threads: int, say: Say) -> Records:
    """Each step of making the exported folder, which the other parts use."""
    del plan, threads
    checkpoint, output = made(place, kind, "checkpoint"), place.of(kind, "exported")
    folder, before, records = output.with_name("exported.making"), dict[str, int](), Records()
    shutil.rmtree(folder, ignore_errors=True)
    for name, options in MAKING.items():
        say(f"{kind}: make {name}")
        what = [folder, *options] if options else [checkpoint, "-o", folder]
        command = [Path(sys.executable).with_name("dpr-export"), *what, "--allow-loss", "--json"]
        try:
            printed, found = cost(command, place, f"memory make {kind} {name}")
        except WorkerError as error:
            records[name] = {"reason": str(error)}
            continue
        manifest = json.loads(printed)
        sizes = {file: one["bytes"] for file, one in manifest["files"].items() if file.endswith(".onnx")}
        new = {file: size / 1e6 for file, size in sizes.items() if file not in before}
        notes = [f"{Path(file).name} {size:,.0f} MB" for file, size in new.items()]
        notes += [
            v["accuracy_drop"]["settings"] for v in manifest["variants"] if v["accuracy_drop"] and v["file"] in new
        ]
        records[name] = {**found, "files": new, "note": "; ".join(notes)}
        before = sizes
    shutil.rmtree(output, ignore_errors=True)
    folder.rename(output)
    return records


def starting(place: Place, kind: str, plan: Plan, threads: int, say: Say) -> Records:
    """The medians of first and second starts; contenders take turns, each with a new cache folder every time."""
    job = {"question": strings.QUESTION, "titles": [""], "texts": [strings.QUESTION], "batch_size": 1}
    times: dict[str, dict[str, list[float]]] = {row.name: {} for row in ROWS}
    reasons: dict[str, str] = {}
    for number, row in ((number, row) for number in range(plan.starts) for row in ROWS if row.name not in reasons):
        say(f"{kind}: start {number + 1}, {row.name}")
        request = {"kind": kind, "folder": str(made(place, kind, row.needs[-1])), "threads": threads, **row.options}
        command = [sys.executable, "-c", START, json.dumps(request), json.dumps(job)]
        with tempfile.TemporaryDirectory(dir=place.work) as cache:
            for which in ("first", "second"):
                try:
                    _, found = cost(command, place, f"memory start {kind} {row.name}", {"XDG_CACHE_HOME": cache})
                except WorkerError as error:
                    reasons[row.name] = str(error)
                    break
                for what, value in found.items():
                    times[row.name].setdefault(f"{which} {what}", []).append(value)
    medians = {name: {what: median(values) for what, values in its.items()} for name, its in times.items()}
    return {**medians, **{name: {"reason": reason} for name, reason in reasons.items()}}


def cost(command: list[Any], place: Place, log: str, variables: Records | None = None) -> tuple[str, Records]:
    """Run a process; return what it prints, the seconds until its first line, and its peak memory in MB.

    Raises:
        WorkerError: it fails.
    """
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **place.variables, **(variables or {})}
    start = time.perf_counter()
    with place.log(log).open("w+", encoding="utf-8") as stderr:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, env=variables, cwd=place.work, text=True
        ) as process:
            assert process.stdout is not None
            printed = process.stdout.readline()
            seconds = time.perf_counter() - start
            printed += process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            stderr.seek(0)
            raise WorkerError((stderr.read().strip().splitlines() or [f"exit code {process.returncode}"])[-1][:200])
    return printed, {"s": seconds, "peak MB": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6}


def running(place: Place, kind: str, plan: Plan, threads: int, say: Say) -> Records:
    """The memory of each contender over its calls."""
    results: Records = {"tokens": {}, "texts": {}}
    for what, records in results.items():
        for row in ROWS:
            count = plan.calls // 10 if row is BASELINE else plan.calls
            for calls in (0, count):  # a process that makes no calls fills the cache for the one that is measured
                with team(place, kind, {row.name: row}, threads, say) as loaded:
                    say(f"{kind}: {calls} calls of {row.name}, {what}")
                    try:
                        if row.name in loaded.reasons:
                            raise WorkerError(loaded.reasons[row.name])
                        records[row.name] = memory_of(loaded.workers[row.name], jobs(kind, what, calls), plan.calls)
                    except WorkerError as error:
                        records[row.name] = {"reason": str(error)}
    return results


def memory_of(worker: Worker, calls: Iterable[Request], most: int) -> Records:
    """The memory in MB of the one process that runs beside this one: loaded, after a tenth of the calls, and after all
    of them; and how much it would grow in 1,000 more, by the slope of the second half."""
    (process,) = psutil.Process().children()
    series, seconds = [process.memory_info().rss / 1e6], 0.0
    for call in calls:
        worker.ask("prepare", warm_up=False, **call)
        seconds += worker.ask("time")["seconds"]
        series.append(process.memory_info().rss / 1e6)
    record = {f"after {number:,}": series[number] for number in (0, most // 10, most) if number < len(series)}
    if len(series) > most:
        half = series[most // 2 :]
        slope = 1000 * float(np.polyfit(np.arange(len(half)), half, 1)[0])
        record |= {"grown": series[most] - series[most // 10], "in 1,000 more": slope}
    status = Path(f"/proc/{process.pid}/status")  # where there is one (Linux), it knows the peaks between calls too
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    peaks = [int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")]
    return {**record, "peak": max(*series, *peaks), "s of calls": seconds}


def jobs(kind: str, what: str, count: int) -> Iterator[Request]:
    """As many calls of random sizes, always the same ones; the first is the largest."""
    random, words = Random(0), " ".join(passage.text for passage in strings.passages(100)[1]).split()
    for number in range(count):
        rows = random.randint(1, MOST_ROWS) if number else MOST_ROWS
        if what == "tokens":
            yield {"feeds": feeds_of(kind, (rows, random.randint(*LENGTHS) if number else LENGTHS[1]))}
            continue
        lengths = [random.randint(*WORDS) if number else WORDS[1] for _ in range(rows)]
        starts = [random.randrange(len(words) - length) for length in lengths]
        texts = [" ".join(words[start : start + length]) for start, length in zip(starts, lengths, strict=True)]
        job: Request = {"texts": texts, "batch_size": MOST_ROWS}
        yield {**job, "question": strings.QUESTION, "titles": ["Title"] * rows} if kind == READER.name else job


PARTS = {"making": making, "starting": starting, "running": running}


def show(title: str, records: Records, console: Console) -> None:
    """A table of records, or, where they are records of records, one of each."""
    if "tokens" in records:
        for what, its in records.items():
            show(f"{title}, MB over calls with {what}", its, console)
        return
    columns = max(([what for what in one if isinstance(one[what], float)] for one in records.values()), key=len)
    table = Table("", *columns, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, one in records.items():
        values = {what: one[what] for what in columns if what in one}
        shown = {what: f"{value:,.{0 if abs(value) >= 100 else 2}f}" for what, value in values.items()}
        table.add_row(escape(name), *(shown.get(what, "") for what in columns))
    notes = [f"- {name}: {one[what]}" for name, one in records.items() for what in ("reason", "note") if what in one]
    console.print(f"[bold underline]{escape(title)}[/]", table, sep="\n", highlight=False)
    console.print(*map(escape, notes), "", sep="\n", highlight=False, soft_wrap=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=(__doc__ or "").partition("\n")[0])
    work = Path(tempfile.gettempdir(), "dpr-export-bench")
    parser.add_argument("--work", type=Path, default=work, help=f"working folder ({work})")
    parser.add_argument("--only", action="append", choices=[*PARTS], help="a part to run (all); repeatable")
    parser.add_argument("--kind", action="append", choices=[*KINDS], help="question and reader; repeatable")
    parser.add_argument("--calls", type=int, help=f"calls of each process ({Plan().calls:,}); more to look for leaks")
    parser.add_argument("--quick", action="store_true", help="tiny models and few calls: whether it works")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--save", action="store_true", help=f"write them into {SAVED.relative_to(ROOT)}")
    given = parser.parse_args()
    plan = Plan(max(10, given.calls or (40 if given.quick else Plan().calls)), 1 if given.quick else Plan().starts)
    place = Place(given.work.resolve(), TINY if given.quick else BASE, given.work / "peer")
    threads = usable_processors()
    results: Records = {"about": about(given.quick, threads), "plan": plan._asdict(), "kinds": {}}
    files = [path for path in (given.json, SAVED if given.save else None) if path]
    for path in files:
        earlier(results["about"], path)  # which would fail after all the work otherwise
    progress = Console(stderr=True)
    with progress.status("start") as status:

        def say(text: str) -> None:
            status.update(text) if progress.is_terminal else progress.print(text, highlight=False)

        for kind in given.kind or (QUESTION.name, READER.name):
            parts = [part for part in PARTS if part in (given.only or PARTS)]
            results["kinds"][kind] = {part: PARTS[part](place, kind, plan, threads, say) for part in parts}
    for path in files:
        held = earlier(results["about"], path).get("kinds", {})
        kinds = {
            kind: {**held.get(kind, {}), **results["kinds"].get(kind, {})} for kind in {**held, **results["kinds"]}
        }
        write({**results, "kinds": kinds}, path)
    for kind, parts in results["kinds"].items():
        for part, records in parts.items():
            show(f"{kind}: {part}", records, Console() if Console().is_terminal else Console(width=100))


if __name__ == "__main__":
    main()
