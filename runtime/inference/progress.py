"""How work is followed: named steps, and a bar for work that is counted in texts, drawn by rich where asked for."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Step = Callable[[str], AbstractContextManager[None]]


@contextmanager
def silent(name: str) -> Iterator[None]:  # noqa: ARG001 (the signature of a step)
    """A step of work that tells nobody."""
    yield


@contextmanager
def progress(total: int, label: str, show: bool) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told how many more are done; it draws on standard error, or nothing without `show`."""
    if not show:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.advance(task, done)
