"""Show the progress of a TensorRT build, with one bar for each phase, and then its result."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from dpr_export.runtime.engines.nvidia.tensorrt_callbacks import Watch

if TYPE_CHECKING:
    from dpr_export.runtime.checks.build_engine import Engine


class BuildBars(Watch):
    """The progress bars of a build. They draw on a terminal only.

    Args:
        console: where to draw.
        stopped: returns True if the build should end.
    """

    def __init__(self, console: Console, stopped: Callable[[], bool]) -> None:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
        self._bars = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._tasks: dict[str, TaskID] = {}
        self._depths: dict[str | None, int] = {None: 0}
        self._stopped = stopped

    def __enter__(self) -> "BuildBars":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        depth = self._depths.get(parent, 0)
        self._depths[phase] = depth + 1
        self._tasks[phase] = self._bars.add_task("  " * depth + phase, total=steps)

    def step(self, phase: str, done: int) -> None:
        if phase in self._tasks:
            self._bars.update(self._tasks[phase], completed=done)

    def finish(self, phase: str) -> None:
        if phase in self._tasks:
            self._bars.remove_task(self._tasks.pop(phase))

    def stopped(self) -> bool:
        return self._stopped()


def show_engine(console: Console, engine: "Engine") -> None:
    """Print a built engine: its file, whether it was verified on this GPU, and its path."""
    key = engine.record.key
    took = "existed already" if engine.seconds is None else f"built in {engine.seconds:.1f} s"
    lengths = ", ".join(str(bucket.length) for bucket in key.buckets)
    size = engine.record.bytes / 1e6
    lines = [
        f"{engine.file} for {engine.gpu}, {key.library} {key.version}: {took}, {size:,.0f} MB, lengths {lengths}",
        f"verified on this GPU against the reference outputs: {engine.record.verified}"
        if engine.record.verified
        else "not verified: run dpr-runtime build on the GPU to compare it with the reference outputs",
        f"in {engine.path}",
    ]
    for line in lines:
        console.print(escape(line), soft_wrap=True)
