"""Tell a person what an export is doing: a spinner and the time on a terminal, plain lines anywhere else."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from dpr_export.runtime.cli.run_command import exit_if_signaled
from dpr_export.runtime.inference.progress import Step


def steps(console: Console) -> Step:
    """Return a function that opens a step of work, and prints its name and duration when it is done.

    Where the console is a terminal, a spinner turns meanwhile; where it is a file or a pipe, the name is printed first
    too, so that a long step is seen to have begun. A request to end that was lost within a step is heard after it.
    """

    @contextmanager
    def step(name: str) -> Iterator[None]:
        start = time.perf_counter()
        shown = escape(name)
        if console.is_terminal:
            with console.status(f"{shown} …"):
                yield
        else:
            console.print(f"{shown} ...", highlight=False, soft_wrap=True)
            yield
        exit_if_signaled()
        mark = "[green]✓[/]" if console.is_terminal else "done:"
        console.print(f"{mark} {shown} [dim]{time.perf_counter() - start:.1f} s[/]", highlight=False, soft_wrap=True)

    return step
