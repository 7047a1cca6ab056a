"""Shapes, numbers and tables as all benchmarks print them."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

Results = dict[str, Any]
SHAPES = ((1, 16), (1, 128), (8, 128), (16, 256))  # batch x sequence
_BUSY_LOAD = 0.7
QUICK_NOTE = "Tiny models and few calls: this shows that the benchmark works, not how fast anything is."


def shape_name(shape: tuple[int, int]) -> str:
    """
    >>> shape_name((8, 128))
    '8x128'
    """
    return f"{shape[0]}x{shape[1]}"


def format_ms(value: float) -> str:
    """Milliseconds with three significant digits.

    >>> [format_ms(value) for value in (3.214, 48.51, 487.2, 16204.0)]
    ['3.21', '48.5', '487', '16,204']
    """
    return f"{value:,.{max(0, 3 - len(str(int(value))))}f}"


def show_table(console: Console, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table with a title. The first column is flush left and the others right; rows may hold markup."""
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(escape(column), justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(f"[bold underline]{escape(title)}[/]", table, sep="\n", highlight=False)


def show_notes(console: Console, notes: Iterable[tuple[str, str]]) -> None:
    """Print a line for each name and note, and an empty line."""
    for name, note in dict(notes).items():
        console.print(f"[dim]- {escape(name)}: {escape(note)}[/]", highlight=False, soft_wrap=True)
    console.print()


def show_machine(about: Results, console: Console) -> None:
    """Print where the results are from, and warn if they say little."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items() if number)
    console.print(f"{about['processor']}, {about['threads']} threads\nPython {about['python']}, {versions}\n")
    if about["load"] > _BUSY_LOAD:
        warning = f"Other programs ran: the load was {about['load']:.1f} when the run began."
        console.print(f"[bold red]{warning}[/] That favours contenders whose threads wait less for each other.\n")
    if about["quick"]:
        console.print(f"[bold]{QUICK_NOTE}[/]\n")
