"""Callbacks for TensorRT: a logger that keeps its errors, and a monitor of a build's progress."""

from functools import cache
from typing import Any


class Watch:
    """Follows the progress of a build; this one ignores it. Phases are nested; no two have one name at one time."""

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase starts, within the phase `parent`."""

    def step(self, phase: str, done: int) -> None:
        """So many of the phase's steps are done."""

    def finish(self, phase: str) -> None:
        """A phase has ended."""

    def stopped(self) -> bool:
        """Whether the build should end."""
        return False


@cache
def logger(trt: Any) -> tuple[Any, list[str]]:
    """A logger that prints nothing, and the list of its errors. TensorRT takes one logger for the whole process."""
    problems: list[str] = []
    errors = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: Any, message: str) -> None:
            if severity in errors:
                problems.append(" ".join(message.split()))

    return Log(), problems


def monitor(trt: Any, watch: Watch) -> Any:
    """A progress monitor that calls `watch`. TensorRT calls it from C++, so `watch` must not raise."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            watch.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            watch.step(phase_name, step + 1)
            return not watch.stopped()

        def phase_finish(self, phase_name: str) -> None:
            watch.finish(phase_name)

    return Monitor()
