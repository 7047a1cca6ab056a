"""What TensorRT calls back: a logger that keeps its errors, and a monitor that tells how a build goes on."""

from functools import cache
from typing import Any, Protocol


class Watch(Protocol):
    """Told how a build goes on. Phases are nested, and a phase's name is its own while it lasts."""

    def start(self, phase: str, parent: str | None, steps: int) -> None: ...

    def step(self, phase: str, done: int) -> None: ...

    def finish(self, phase: str) -> None: ...

    def stopped(self) -> bool:
        """Whether the build should end."""


class Unwatched:
    """A build that nobody watches."""

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        pass

    def step(self, phase: str, done: int) -> None:
        pass

    def finish(self, phase: str) -> None:
        pass

    def stopped(self) -> bool:
        return False


@cache
def logger(trt: Any) -> tuple[Any, list[str]]:
    """A logger that prints nothing, and the errors it was told of. TensorRT takes one for the whole process."""
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
    """TensorRT's progress monitor, which tells `watch`. It is called from C++, where nothing may be raised."""

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
