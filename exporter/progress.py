"""Show the steps of an export: a spinner and durations on a terminal, plain lines anywhere else."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from dpr_export.models.progress import Step
from dpr_export.runtime.cli.run_command import exit_if_signaled


def steps(console: Console) -> Step:
    """Return a function that runs a step: a context manager that prints the step's name and duration at its end.

    During a step a terminal shows a spinner; a file or a pipe gets the name at the start too. A signal to end that a
    library swallowed during a step is answered after it.
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
