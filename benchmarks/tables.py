"""The results as tables for a terminal of 100 columns. In each column the fastest is bold."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.bars import Bar
from benchmarks.contenders import BASELINE
from benchmarks.parts import ALL_AT_ONCE
from dpr_export.models.kinds import KINDS

Results = Mapping[str, Any]
_OPERATORS = 7
_AT_REST = 0.7
_VERDICTS = {True: "[green]kept[/]  ", False: "[bold red]missed[/]"}


def show(results: Results, bars: Iterable[Bar], console: Console) -> None:
    """Print everything that was run."""
    about = results["about"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items() if number)
    console.print(f"{about['processor']}, {about['threads']} threads\nPython {about['python']}, {versions}\n")
    if about["load"] > _AT_REST:
        said = f"The machine was not at rest: its load was {about['load']:.1f} when the run began."
        console.print(f"[bold red]{said}[/] Ratios are then in favour of whoever waits least at barriers.\n")
    if about["quick"]:
        console.print(
            "[bold]Tiny models and few rounds: this shows that the benchmark works, not how fast anything is.[/]\n"
        )
    model_calls = results.get("model-calls", {})
    for kind, result in model_calls.items():
        title = f"The model call alone: {kind} (batch x sequence)"
        _show_times(console, title, result["shapes"], BASELINE.name, result["cosines"])
    if strings := results.get("strings"):
        _show_strings(console, strings)
    if answer := results.get("answer"):
        title = f"answer: one question over {answer['passages']['count']} passages"
        _show_times(console, title, answer["lines"], ALL_AT_ONCE)
    for kind, limits in results.get("limits", {}).items():
        _show_limits(console, kind, limits, model_calls.get(kind, {}).get("shapes", {}))
    _show_bars(console, bars)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table


def _title(console: Console, text: str) -> None:
    console.print(f"[bold underline]{escape(text)}[/]", highlight=False)


def _show_times(
    console: Console, title: str, lines: Mapping[str, Any], baseline: str, cosines: Mapping[str, float] | None = None
) -> None:
    """A row a contender; for each line its milliseconds, and how many times faster than the baseline it is."""
    _title(console, title)
    columns = [column for line in lines for column in (line, "x")]
    table = _table("milliseconds", *columns, *(["cosine"] if cosines else []))
    best = {line: min((r["ms"] for r in records.values() if "ms" in r), default=0) for line, records in lines.items()}
    for name in next(iter(lines.values())):
        cells = []
        for line, records in lines.items():
            record, slowest = records[name], records[baseline].get("ms")
            style = "bold" if record.get("ms") == best[line] else "not bold"
            ratio = f"{slowest / record['ms']:.2f}" if slowest and "ms" in record else ""
            cells += [f"[{style}]{_ms(record['ms']) if 'ms' in record else '-'}[/]", f"[{style}]{ratio}[/]"]
        if cosines:
            cells.append(f"{cosines[name]:.4f}" if name in cosines else "")
        table.add_row(escape(name), *cells)
    console.print(table, *_reasons(lines), "", sep="\n", highlight=False)


def _reasons(lines: Mapping[str, Any]) -> Iterator[str]:
    """Why some contenders have no times."""
    records = [pair for line in lines.values() for pair in line.items()]
    for name, reason in {name: record["reason"] for name, record in records if "reason" in record}.items():
        yield f"[dim]- {escape(name)}: {escape(reason)}[/]"


def _show_strings(console: Console, strings: Mapping[str, Any]) -> None:
    lines = dict(strings["lines"])
    mixed, found = {"mixed": lines.pop("mixed")}, strings["passages"]
    _show_times(console, "From strings to vectors: context (texts x tokens)", lines, BASELINE.name)
    tokens = "{least} to {most} tokens, {mean:.0f} on average".format(**found["tokens"])
    _show_times(console, f"From strings to vectors: {found['count']} passages of {tokens}", mixed, BASELINE.name)
    console.print(f"passages: {found['source']}; the tuned batch size is {strings['tuned_batch_size']}\n")


def _ms(value: float) -> str:
    """Three digits that count.

    >>> [_ms(value) for value in (3.214, 48.51, 487.2, 16204.0)]
    ['3.21', '48.5', '487', '16,204']
    """
    digits = max(0, 3 - len(str(int(value))))
    return f"{value:,.{digits}f}"


def _show_limits(console: Console, kind: str, limits: Mapping[str, Any], model_calls: Mapping[str, Any]) -> None:
    """The distance to the machine's limits, and where the time goes."""
    if "reason" in limits:
        console.print(f"The limits of {kind} were not measured: {escape(limits['reason'])}\n")
        return
    int8, fp32, read = (limits[f"{name}_per_second"] / 1e9 for name in ("int8_operations", "fp32_operations", "bytes"))
    _title(console, f"The distance to the machine's limits: {kind}, openvino int8")
    table = _table("", "ms", "Gop/s", "least ms, products", "least ms, memory", "reached", "most x")
    for shape, found in limits["shapes"].items():
        least = max(found["least_ms_by_products"], found["least_ms_by_memory"])
        baseline = model_calls.get(shape, {}).get(BASELINE.name, {}).get("ms")
        table.add_row(
            shape,
            _ms(found["ms"]),
            f"{found['operations'] / found['ms'] / 1e6:,.0f}",
            _ms(found["least_ms_by_products"]),
            _ms(found["least_ms_by_memory"]),
            f"{least / found['ms']:.0%}",
            f"{baseline / least:.1f}" if baseline else "",
        )
    console.print(table, highlight=False)
    console.print(
        f"limits measured here: {int8:,.0f} INT8 Gop/s ({fp32:,.0f} in float32), {read:.1f} GB/s; most x: how many "
        f"times faster than {BASELINE.name} a call at the limit would be\n"
    )
    _title(console, f"Where its time goes, in %: {kind}")
    shares = [found["operators"] for found in limits["shapes"].values()]
    names = sorted({name for share in shares for name in share}, key=lambda name: -sum(s.get(name, 0) for s in shares))
    table = _table("", *limits["shapes"])
    for name in names[:_OPERATORS]:
        table.add_row(name, *(f"{share.get(name, 0):.1%}" for share in shares))
    table.add_row("the rest", *(f"{sum(share.get(name, 0) for name in names[_OPERATORS:]):.1%}" for share in shares))
    console.print(table, "", sep="\n", highlight=False)


def _show_bars(console: Console, bars: Iterable[Bar]) -> None:
    """A row a bar; for each kind of model how many times faster it was."""
    rows: dict[tuple[str, str, float], dict[str, str]] = {}
    for bar in bars:
        said = "not measured" if bar.ratio is None else f"{bar.ratio:.2f} {_VERDICTS[bar.kept]}"
        rows.setdefault((bar.what, bar.line, bar.bar), {})[bar.kind] = said
    if rows:
        _title(console, "The bars: how many times faster")
        table = _table("", "", "at least", *KINDS)
        for (what, line, least), by_kind in rows.items():
            table.add_row(escape(what), line, f"{least:.2f}", *(by_kind.get(kind, "") for kind in KINDS))
        console.print(table, highlight=False)
