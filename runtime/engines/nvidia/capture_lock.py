"""Keep captures of CUDA graphs apart from every other use of CUDA by this process's sessions.

ONNX Runtime captures in CUDA's global mode, in which any other thread that allocates or frees memory, or waits for a
device, breaks the capture. So a capture runs alone, and all other calls run at the same time between captures.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock


class CaptureLock:
    """Many calls at a time, or one capture.

    >>> lock = CaptureLock()
    >>> with lock.call(), lock.call():
    ...     pass
    >>> with lock.capture():
    ...     pass
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._calls = 0
        self._is_capturing = False
        self._one_capture = Lock()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Use CUDA: to open a session, to run it or to close it. Waits for a capture to end."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_capturing)
            self._calls += 1
        try:
            yield
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()

    @contextmanager
    def capture(self) -> Iterator[None]:
        """Capture a CUDA graph. Waits for all calls to end; calls that come later wait for the capture."""
        with self._one_capture:
            try:
                with self._changed:
                    self._is_capturing = True
                    self._changed.wait_for(lambda: not self._calls)
                yield
            finally:
                with self._changed:
                    self._is_capturing = False
                    self._changed.notify_all()


CAPTURE_LOCK = CaptureLock()
