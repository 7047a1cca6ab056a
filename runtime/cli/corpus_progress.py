"""Draw how far a corpus is: passages, passages a second and the time left; on a terminal alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class _Passages(ProgressColumn):
    """Passages, and how many a second."""

    def render(self, task: Task) -> Text:
        """The text of the column."""
        of = f" of about {int(task.total):,}" if task.total else ""
        rate = f"{task.speed:,.0f}" if task.speed else "-"
        return Text(f"{int(task.completed):,}{of} passages, {rate}/s")


@contextmanager
def passages_bar(console: Console) -> Iterator[Callable[[int, int | None], None]]:
    """Yield what `encode_corpus` calls to tell how far it is.

    The number of passages is estimated from the part of the file that was read.
    """
    if not console.is_terminal:
        yield lambda _done, _expected: None
        return
    columns = (TextColumn("encode"), BarColumn(), _Passages(), TimeRemainingColumn())
    with Progress(*columns, console=console, speed_estimate_period=60) as bar:
        task = bar.add_task("encode", total=None, start=False)

        def watch(done: int, expected: int | None) -> None:
            bar.start_task(task)  # what came before was not encoding
            bar.update(task, advance=done, total=expected)

        yield watch
