"""Draw a progress bar for a corpus on a terminal: passages, passages per second, time left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class _Passages(ProgressColumn):
    """The number of passages, and passages per second."""

    def render(self, task: Task) -> Text:
        """The text of the column."""
        of = f" of about {int(task.total):,}" if task.total else ""
        rate = f"{task.speed:,.0f}" if task.speed else "-"
        return Text(f"{int(task.completed):,}{of} passages, {rate}/s")


@contextmanager
def passages_bar(console: Console) -> Iterator[Callable[[int, int | None], None]]:
    """Yield the function `watch` for `encode_corpus`. Elsewhere than on a terminal it draws nothing."""
    if not console.is_terminal:
        yield lambda _done, _total: None
        return
    columns = (TextColumn("encode"), BarColumn(), _Passages(), TimeRemainingColumn())
    with Progress(*columns, console=console, speed_estimate_period=60) as bar:
        task = bar.add_task("encode", total=None, start=False)

        def watch(done: int, total: int | None) -> None:
            bar.start_task(task)  # at the first batch: loading the model does not count
            bar.update(task, advance=done, total=total)

        yield watch
