"""Speed on an NVIDIA GPU, beside what a user would pick instead: python -m benchmarks.gpu

Contenders run in processes of their own and take turns of some calls each. Latency is the median and the 99th
percentile of a call, from token ids in the machine's memory to the result there; throughput is of large batches. The
models are of base size with random weights, which cost as much to run as trained ones. Beside them stands what the GPU
multiplies when it does nothing else, and how much of that the fastest call reaches.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.contenders import Contender
from benchmarks.gpu_contenders import COMPILED, CONTENDERS, EAGER, OURS
from benchmarks.operations import multiply_adds
from benchmarks.parts import feeds_of
from benchmarks.place import BASE, TINY, Place, shape_name
from benchmarks.results import about, write
from benchmarks.team import Say, Team, team
from benchmarks.workers import ROOT
from dpr_export.models.config import DPRConfig
from dpr_export.runtime.engines.devices import parse_device
from dpr_export.runtime.engines.nvidia.driver import gpu_problem

Records = dict[str, Any]
SAVED = Path(__file__).parent / "results" / "gpu.json"
LATENCY = {"question": ((1, 16),), "reader": ((1, 256), (20, 256), (100, 256))}
THROUGHPUT = {"context": ((128, 128), (64, 256))}
FULL, QUICK = (20, 25), (2, 3)  # rounds, and calls of each contender in a round
_QUICK_ROWS = 4
_MATRIX = 8192

# What is aimed at for the question encoder's latency: milliseconds at most, and how many times faster than whom.
MOST_MS, TIMES = 1.0, {EAGER.name: 3.0, COMPILED.name: 1.0}


def measure(place: Place, plan: tuple[int, int], contenders: tuple[Contender, ...], say: Say) -> Records:
    """The milliseconds of every call, by kind, shape and contender; or why a contender has none."""
    results: Records = {}
    rows = {contender.name: contender for contender in contenders}
    for kind, shapes in {**LATENCY, **THROUGHPUT}.items():
        with team(place, kind, rows, 1, say) as loaded:
            results[kind] = {"shapes": {}, "engines": loaded.engines}
            for shape in shapes if plan is FULL else sorted({(min(r, _QUICK_ROWS), length) for r, length in shapes}):
                say(f"{kind} {shape_name(shape)}")
                job = {"feeds": feeds_of(kind, shape)}
                numbers = loaded.prepare(dict.fromkeys(rows, job))
                results[kind]["shapes"][shape_name(shape)] = {
                    name: {**record, "cosine": cosine(numbers.get(name), numbers.get(EAGER.name))}
                    for name, record in calls_of(loaded, list(rows), *plan).items()
                }
    return results


def calls_of(loaded: Team, names: list[str], rounds: int, calls: int) -> Records:
    """The percentiles of each contender's calls, asked in turns for some at a time."""
    seconds = loaded.many_seconds(names, rounds, calls)
    return {
        name: {"reason": loaded.reasons[name]}
        if name in loaded.reasons
        else {"p50_ms": float(np.percentile(found, 50)) * 1e3, "p99_ms": float(np.percentile(found, 99)) * 1e3}
        for name, found in seconds.items()
    }


def cosine(one: list[float] | None, other: list[float] | None) -> float | None:
    """Of a contender's first row with the baseline's: one that computes something else is seen by it.

    >>> cosine([1.0, 0.0], [2.0, 0.0])
    1.0
    """
    if not one or not other:
        return None
    return float(np.dot(one, other) / (np.linalg.norm(one) * np.linalg.norm(other)))


def operations_per_second(device: str) -> float:
    """How fast the GPU multiplies large fp16 matrices; a multiply-add is two operations."""
    import torch

    one, other = (torch.randn(_MATRIX, _MATRIX, device=device, dtype=torch.float16) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        torch.mm(one, other)
        torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2.0 * _MATRIX**3 / best


def show(results: Records, console: Console) -> None:
    """Print a table of each kind, and what was aimed at."""
    said = results["about"]
    console.print(f"{escape(said['gpu'])}; {escape(said['processor'])}", highlight=False)
    if said["quick"]:
        console.print("[bold]Tiny models, few calls: this shows that the benchmark works, not how fast anything is.[/]")
    rate = results.get("operations_per_second")
    if rate:
        console.print(f"fp16 matrix products measured here: {rate / 1e12:,.0f} Tflop/s", highlight=False)
    for kind, found in results["kinds"].items():
        for shape, records in found["shapes"].items():
            console.print("", _table(kind, shape, records, rate), sep="\n", highlight=False)
            for name, record in records.items():
                if "reason" in record:
                    console.print(f"[dim]- {escape(name)}: {escape(record['reason'])}[/]", highlight=False)
    console.print("")
    for what, kept in [] if said["quick"] else aims(results["kinds"]):
        console.print(f"{'[green]kept[/]  ' if kept else '[bold red]missed[/]'} {escape(what)}", highlight=False)


def _table(kind: str, shape: str, records: Records, rate: float | None) -> Table:
    rows, length = map(int, shape.split("x"))
    table = Table(box=None, pad_edge=False, title=f"{kind} {shape}", title_justify="left")
    last = "passages/s" if kind in THROUGHPUT else "of the GPU's rate"
    for number, column in enumerate(("", "p50 ms", "p99 ms", f"x {EAGER.name}", "cosine", last)):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    slowest = records[EAGER.name].get("p50_ms")
    for name, record in records.items():
        if "p50_ms" not in record:
            table.add_row(escape(name), "-")
            continue
        ms = record["p50_ms"]
        reached = f"{operations(kind, rows, length) / (ms / 1e3) / rate:.0%}" if rate else ""
        table.add_row(
            escape(name),
            f"{ms:.3f}",
            f"{record['p99_ms']:.3f}",
            f"{slowest / ms:.2f}" if slowest else "",
            f"{record['cosine']:.4f}" if record["cosine"] is not None else "",
            f"{rows / (ms / 1e3):,.0f}" if kind in THROUGHPUT else reached,
        )
    return table


def operations(kind: str, rows: int, length: int) -> float:
    """Of one call of a base model; a multiply-add is two operations."""
    return 2.0 * multiply_adds(DPRConfig(), kind, rows, length)


def aims(kinds: Records) -> list[tuple[str, bool]]:
    """What is aimed at for a question's latency, and whether the fastest of ours keeps it; nothing if none ran."""
    records = next(iter(kinds["question"]["shapes"].values()))
    ours = {c.name: records[c.name]["p50_ms"] for c in OURS if "p50_ms" in records.get(c.name, {})}
    if not ours:
        return []
    name = min(ours, key=lambda each: ours[each])
    found = [(f"{name}: {ours[name]:.3f} ms, and at most {MOST_MS:.1f}", ours[name] <= MOST_MS)]
    for other, times in TIMES.items():
        if "p50_ms" in records.get(other, {}):
            ratio = records[other]["p50_ms"] / ours[name]
            found.append((f"{name}: {ratio:.2f} times {other}, and at least {times:.1f}", ratio >= times))
    return found


def main() -> None:
    given = _arguments()
    kind, index = parse_device(given.device)
    if kind == "cuda" and (problem := gpu_problem(index)):
        sys.exit(f"benchmarks.gpu: {given.device} cannot be used: {problem}")
    place = Place(given.work, TINY if given.quick else BASE, given.work / "peer")
    contenders = tuple(replace(c, options={**c.options, "device": given.device}) for c in CONTENDERS)
    progress = Console(stderr=True)
    with progress.status("start") as status:

        def say(text: str) -> None:
            status.update(text) if progress.is_terminal else progress.print(text, highlight=False)

        results: Records = {"about": {**about(given.quick, 1), "gpu": _gpu(kind, index)}}
        results["kinds"] = measure(place, QUICK if given.quick else FULL, contenders, say)
        if kind == "cuda":
            results["operations_per_second"] = operations_per_second(given.device)
    if given.save:
        write(results, SAVED)
    console = Console()
    show(results, console if console.is_terminal else Console(width=110))


def _gpu(kind: str, index: int) -> str:
    if kind == "cpu":
        return "no GPU"
    import torch

    return str(torch.cuda.get_device_name(index))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").partition("\n")[0])
    default = Path(tempfile.gettempdir(), "dpr-export-bench")
    parser.add_argument("--work", type=Path, default=default, help=f"working folder ({default})")
    parser.add_argument("--device", default="cuda", help="the GPU: cuda, cuda:1; cpu with --quick")
    parser.add_argument("--quick", action="store_true", help="tiny models, few calls: whether it works, not how fast")
    parser.add_argument("--save", action="store_true", help=f"write the results into {SAVED.relative_to(ROOT)}")
    given = parser.parse_args()
    try:
        kind, _ = parse_device(given.device)
    except ValueError as error:
        parser.error(str(error))
    if given.quick and given.save:
        parser.error("--save keeps measurements, and --quick makes none")
    if kind == "cpu" and not given.quick:
        parser.error("--device cpu shows that the benchmark works, with --quick alone")
    given.work = given.work.resolve()
    return given


if __name__ == "__main__":
    main()
