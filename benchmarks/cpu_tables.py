"""Print the results of the CPU benchmark as tables for a terminal of 100 columns. The fastest of a column is bold."""

from collections.abc import Iterable, Mapping
from statistics import geometric_mean
from typing import Any

from rich.console import Console
from rich.markup import escape

from benchmarks.cpu_parts import ALL_AT_ONCE, IN_BATCHES, MIXED, TUNED
from benchmarks.harness.contenders import BASELINE, DOCUMENTED, OURS, OURS_ORT, STRONGEST, TORCH
from benchmarks.harness.tables import SHAPES, Results, format_ms, shape_name, show_machine, show_notes, show_table
from dpr_export.models.kinds import CONTEXT, READER

SHAPE_NAMES = tuple(shape_name(shape) for shape in SHAPES)
_ENGINES = {"openvino": OURS.name, "onnxruntime": OURS_ORT.name}
_OTHERS = {  # what ours is compared with, in which part: the contenders of which the fastest counts
    "{} int8 / transformers fp32": ("model-calls", [BASELINE.name]),
    "{} int8 / transformers' fastest": ("model-calls", [contender.name for contender in TORCH]),
    "{} int8 / documented INT8": ("model-calls", [DOCUMENTED.name]),
    "strings, {} / sentence-transformers": ("strings", [STRONGEST.name, TUNED]),
    "strings, {} / transformers": ("strings", [BASELINE.name]),
    "answer, {} / transformers": ("answer", [ALL_AT_ONCE, IN_BATCHES]),
}
COMPARISONS = {
    what.format(engine): (part, ours, others)
    for what, (part, others) in _OTHERS.items()
    for engine, ours in _ENGINES.items()
}


def show(results: Results, console: Console) -> None:
    """Print everything that was measured."""
    show_machine(results["about"], console)
    model_calls = results.get("model-calls", {})
    for kind, result in model_calls.items():
        title = f"The model call alone: {kind} (batch x sequence)"
        _show_times(console, title, result["shapes"], BASELINE.name, result["cosines"])
    if lines := dict(results.get("strings", {}).get("lines", {})):
        _show_strings(console, results["strings"], lines)
    if answer := results.get("answer"):
        title = f"One question answered from {answer['passages']['count']} passages"
        _show_times(console, title, answer["lines"], ALL_AT_ONCE)
    for kind, limits in results.get("limits", {}).items():
        if "reason" in limits:
            show_notes(console, [(f"limits of {kind}", limits["reason"])])
        else:
            _show_limits(console, kind, limits, model_calls.get(kind, {}).get("shapes", {}))
    _show_ratios(console, results)


def _show_times(
    console: Console, title: str, lines: Results, baseline: str, cosines: Mapping[str, float] | None = None
) -> None:
    """A row for each contender: the milliseconds of each line, and how many times faster than the baseline they are."""
    columns = ["milliseconds", *(column for line in lines for column in (line, "x")), *(["cosine"] if cosines else [])]
    best = {line: min((r["ms"] for r in records.values() if "ms" in r), default=0) for line, records in lines.items()}
    rows = []
    for name in next(iter(lines.values())):
        cells = [escape(name)]
        for line, records in lines.items():
            ms, slowest = records[name].get("ms"), records[baseline].get("ms")
            style = "bold" if ms == best[line] else "not bold"
            cells += [f"[{style}]{format_ms(ms) if ms else '-'}[/]"]
            cells += [f"[{style}]{slowest / ms:.2f}[/]" if ms and slowest else ""]
        if cosines:
            cells.append(f"{cosines[name]:.4f}" if name in cosines else "")
        rows.append(cells)
    show_table(console, title, columns, rows)
    records = [pair for line in lines.values() for pair in line.items()]
    show_notes(console, ((name, record["reason"]) for name, record in records if "reason" in record))


def _show_strings(console: Console, strings: Results, lines: dict[str, Any]) -> None:
    mixed = lines.pop(MIXED, None)
    if lines:
        _show_times(console, "From strings to vectors: context (texts x tokens)", lines, BASELINE.name)
    if mixed:
        passages = strings["passages"]
        tokens = "{least:.0f} to {most:.0f} tokens, {mean:.0f} on average".format(**passages["tokens"])
        title = f"From strings to vectors: {passages['count']} passages of {tokens}"
        _show_times(console, title, {MIXED: mixed}, BASELINE.name)
        batch = f"the best batch size of sentence-transformers is {strings['tuned_batch_size']}"
        show_notes(console, [("passages", f"{passages['source']}; {batch}")])


def _show_limits(console: Console, kind: str, limits: Results, model_calls: Results) -> None:
    """How near each call is to the machine's limits."""
    rows = []
    for shape, found in limits["shapes"].items():
        least = max(found["least_ms_by_products"], found["least_ms_by_memory"])
        baseline = model_calls.get(shape, {}).get(BASELINE.name, {}).get("ms")
        times = (found["ms"], found["least_ms_by_products"], found["least_ms_by_memory"])
        rate, reached = f"{found['operations'] / found['ms'] / 1e6:,.0f}", f"{least / found['ms']:.0%}"
        rows.append([shape, *map(format_ms, times), rate, reached, f"{baseline / least:.1f}" if baseline else ""])
    columns = ("", "ms", "least ms, products", "least ms, memory", "Gop/s", "of the limit", "most x")
    show_table(console, f"Near the machine's limits: {kind}, openvino int8", columns, rows)
    int8, fp32, read = (limits[f"{name}_per_second"] / 1e9 for name in ("int8_operations", "fp32_operations", "bytes"))
    note = f"{int8:,.0f} INT8 Gop/s ({fp32:,.0f} in float32), {read:.1f} GB/s"
    faster = f"how many times faster than {BASELINE.name} a call at the limit would be"
    show_notes(console, [("limits measured here", note), ("most x", faster)])


def ratio(records: Results, ours: str, others: Iterable[str]) -> float | None:
    """How many times faster ours is than the fastest of others; None where either was not measured."""
    times = [records[name]["ms"] for name in others if "ms" in records.get(name, {})]
    return min(times) / records[ours]["ms"] if times and "ms" in records.get(ours, {}) else None


def compare(results: Results) -> dict[tuple[str, str], dict[str, float | None]]:
    """The ratio of every comparison, by (comparison, kind of model) and line.

    Lines are the shapes that were measured, their geometric mean, and the passages of mixed lengths.
    """
    parts = {
        "model-calls": {kind: found["shapes"] for kind, found in results.get("model-calls", {}).items()},
        "strings": {CONTEXT.name: results.get("strings", {}).get("lines", {})},
        "answer": {READER.name: results.get("answer", {}).get("lines", {})},
    }
    compared: dict[tuple[str, str], dict[str, float | None]] = {}
    for what, (part, ours, others) in COMPARISONS.items():
        for kind, lines in parts[part].items():
            ratios = {line: ratio(records, ours, others) for line, records in lines.items()}
            shapes = [found for line, found in ratios.items() if line in SHAPE_NAMES and found]
            if any(ratios.values()):
                compared[what, kind] = {**ratios, "mean": geometric_mean(shapes) if shapes else None}
    return compared


def _show_ratios(console: Console, results: Results) -> None:
    lines = (*SHAPE_NAMES, "mean", MIXED, "answer")
    rows = [
        [escape(what), kind, *(f"{found:.2f}" if (found := ratios.get(line)) else "" for line in lines)]
        for (what, kind), ratios in compare(results).items()
    ]
    if rows:
        show_table(console, "How many times faster", ("", "", *lines), rows)
