"""Report the progress of work: named steps, and a progress bar for work that is counted, drawn by rich."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Step = Callable[[str], AbstractContextManager[None]]


@contextmanager
def silent(name: str) -> Iterator[None]:  # noqa: ARG001 (the signature of a step)
    """Run a step of work without reporting it."""
    yield


@contextmanager
def progress(total: int, label: str, show: bool) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of items just done; with `show` it draws a bar on standard error."""
    if not show:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.advance(task, done)
