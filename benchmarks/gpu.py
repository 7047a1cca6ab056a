"""Measure speed on an NVIDIA GPU, next to transformers in half precision: python -m benchmarks.gpu

Contenders take turns of some calls each. Latency is the median (p50) and the 99th percentile (p99) of a call, from
token ids in host memory to the result there; throughput is of large batches. The rate of large fp16 matrix products is
measured too. What the machine lacks is skipped, with the reason. --save adds a run to the list in the results file.
"""

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from benchmarks.cpu_parts import compare_rows
from benchmarks.harness.command import Run, make_parser, start
from benchmarks.harness.contenders import GPU_CONTENDERS, GPU_EAGER, Contender
from benchmarks.harness.limits import multiply_adds, time_calls
from benchmarks.harness.tables import QUICK_NOTE, Results, shape_name, show_notes, show_table
from benchmarks.harness.texts import random_feeds
from benchmarks.harness.worker_group import load_group
from benchmarks.harness.workers import ROOT
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import KINDS
from dpr_export.runtime.engines.devices import parse_device
from dpr_export.runtime.engines.nvidia.driver import gpu_problem

LATENCY = {"question": ((1, 16), (1, 64)), "reader": ((1, 256), (20, 256), (100, 256))}
THROUGHPUT = {"context": ((128, 128), (64, 256))}
ROUNDS, CALLS, QUICK_ROUNDS, QUICK_CALLS = 20, 25, 2, 3
COMPILE_SECONDS = 90.0  # of a first call: max-autotune tries many kernels
_QUICK_ROWS = 4
_MATRIX = 8192


def measure(run: Run, contenders: Sequence[Contender], kinds: Sequence[str]) -> None:
    """Measure the percentiles of each contender's calls, by kind and shape; or keep why a contender has none.

    Once the time of the run is over, no further shape begins.
    """
    rows = {contender.name: contender for contender in contenders}
    for kind, shapes in {**LATENCY, **THROUGHPUT}.items():
        if kind not in kinds or run.is_over:
            continue
        with load_group(run, kind, rows) as group:
            run.keep(group.engines, "kinds", kind, "engines")
            for shape in sorted({(min(r, _QUICK_ROWS), length) for r, length in shapes}) if run.quick else shapes:
                name = shape_name(shape)
                if run.is_over:
                    run.say(f"{kind} {name} is left out: the budget is spent")
                    continue
                run.say(f"{kind} {name}")
                job = {"feeds": random_feeds(kind, shape)}
                answers = group.prepare(dict.fromkeys(rows, job), COMPILE_SECONDS)
                cosines = compare_rows(answers, GPU_EAGER.name)
                rounds, calls = (QUICK_ROUNDS, QUICK_CALLS) if run.quick else (ROUNDS, CALLS)
                records = group.as_records(group.time_calls(list(rows), rounds, calls=calls), percentiles)
                for contender, record in records.items():
                    record["cosine"] = cosines.get(contender)
                times = (f"{each} {record.get('p50_ms', float('nan')):.3f}" for each, record in records.items())
                run.keep(records, "kinds", kind, "shapes", name, line=f"{kind} {name}, p50 ms: {', '.join(times)}")


def percentiles(seconds: Sequence[float]) -> Results:
    """The median and the 99th percentile of some seconds, in milliseconds."""
    return {f"p{p}_ms": float(np.percentile(seconds, p)) * 1e3 for p in (50, 99)}


def products_per_second(device: str) -> float:
    """How fast the GPU multiplies large fp16 matrices; a multiply-add is two operations."""
    import torch

    one, other = (torch.randn(_MATRIX, _MATRIX, device=device, dtype=torch.float16) for _ in range(2))

    def multiply() -> None:
        torch.mm(one, other)
        torch.cuda.synchronize(device)

    return 2.0 * _MATRIX**3 / min(time_calls(multiply))


def show(results: Results, console: Console) -> None:
    """Print the runs of the results file, or one run."""
    for one in results.get("runs", [results]):
        about = one["about"]
        console.print(f"[bold]{escape(about['gpu'])}[/]; {escape(about['processor'])}", highlight=False)
        details = {name: about.get(name) for name in ("commit", "driver", "cudnn")} | about["versions"]
        names = (f"{name} {number}" for name, number in details.items() if number)
        console.print(escape(", ".join((about["date"][:10], *names))), highlight=False)
        if about.get("note"):
            console.print(escape(about["note"]), highlight=False)
        if about.get("quick"):
            console.print(f"[bold]{QUICK_NOTE}[/]")
        rate = one.get("operations_per_second")
        if rate:
            console.print(f"fp16 matrix products measured here: {rate / 1e12:,.0f} Tflop/s", highlight=False)
        for kind, found in one.get("kinds", {}).items():
            for shape, records in found["shapes"].items():
                _show_shape(console, kind, shape, records, rate)
        for section in ("mixed_lengths", "checks", "first_calls", "capture_races", "ceilings"):
            if section in one:
                console.print(f"[bold underline]{section.replace('_', ' ')}[/]", highlight=False)
                show_notes(console, ((name, _format(value)) for name, value in one[section].items()))
        console.print()


def _show_shape(console: Console, kind: str, shape: str, records: Results, rate: float | None) -> None:
    batch, length = map(int, shape.split("x"))
    operations = 2 * multiply_adds(DPRConfig(), kind, batch, length)  # the models are BERT-base
    slowest, rows = records.get(GPU_EAGER.name, {}).get("p50_ms"), []
    for name, record in ((name, record) for name, record in records.items() if "p50_ms" in record):
        ms, cosine = record["p50_ms"], record.get("cosine")
        cells = [f"{ms:.3f}", f"{record['p99_ms']:.3f}", f"{slowest / ms:.2f}" if slowest else ""]
        cells.append("" if cosine is None else f"{cosine:.4f}")
        if kind in THROUGHPUT:
            cells.append(f"{batch / (ms / 1e3):,.0f}")
        else:
            cells.append(f"{operations / (ms / 1e3) / rate:.0%}" if rate else "")
        rows.append([escape(name), *cells])
    last = "passages/s" if kind in THROUGHPUT else "of the rate"
    show_table(console, f"{kind} {shape}", ("", "p50 ms", "p99 ms", "x eager", "cosine", last), rows)
    show_notes(console, ((name, record["reason"]) for name, record in records.items() if "reason" in record))


def _format(value: Any) -> str:
    if isinstance(value, list):
        return "  ".join(map(_format, value))
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def add_run(held: Results, results: Results) -> Results:
    """Put a run behind those that a file holds."""
    return {"runs": [*held.get("runs", []), results]}


def main() -> None:
    parser = make_parser("gpu", __doc__, "tiny models and few calls")
    parser.add_argument("--device", default="cuda", help="the GPU: cuda, cuda:1; cpu with --quick")
    parser.add_argument("--kind", action="append", choices=[*KINDS], help="a kind of model (all); repeatable")
    parser.add_argument("--budget", type=float, default=10.0, metavar="MINUTES", help="for all but making models (10)")
    given = parser.parse_args()
    try:
        kind, index = parse_device(given.device)
    except ValueError as error:
        parser.error(str(error))
    if kind == "cpu" and not given.quick:
        parser.error("--device cpu shows that the benchmark works, and needs --quick")
    if kind == "cuda" and not given.show and (problem := gpu_problem(index)):
        parser.exit(1, f"benchmarks.gpu: {given.device} cannot be used: {problem}\n")
    takes = f"{given.budget:.0f} minutes at most, and 3 to 6 to make models"
    run = start(parser, given, takes, show, combine=add_run, seconds=given.budget * 60)
    run.results["about"] |= {"gpu": "no GPU", "commit": _commit()}
    if kind == "cuda":
        import torch

        run.results["about"] |= {"gpu": torch.cuda.get_device_name(index), "cudnn": torch.backends.cudnn.version()}
        run.keep(products_per_second(given.device), "operations_per_second")
    options = {"device": given.device, "threads": 1}
    measure(run, [replace(c, options={**c.options, **options}) for c in GPU_CONTENDERS], given.kind or [*KINDS])
    show(run.results, run.console)


def _commit() -> str:
    """The commit of this checkout; empty where there is no git."""
    with suppress(OSError):
        command = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return ""


if __name__ == "__main__":
    main()
