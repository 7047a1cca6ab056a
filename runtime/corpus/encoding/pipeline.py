"""Run the stages of a job at the same time, each on a thread of its own.

Reading, tokenizing, computing and writing overlap, and no stage holds more than a few items.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_POLL = 0.1  # seconds between looks at whether to stop
_PATIENCE = 2.0  # seconds that a thread is given to end


class Prefetch(Iterator[_Item]):
    """Draw items on a thread, in order, at most `depth` before they are asked for.

    An error of the items is raised in the place of the item.

    >>> list(Prefetch(range(3), depth=1))
    [0, 1, 2]
    """

    def __init__(self, items: Iterable[_Item], depth: int) -> None:
        self._queue: Queue[tuple[Any, BaseException | None]] = Queue(depth)
        self._stopped = Event()
        self._thread = Thread(target=self._draw, args=(items,), name="dpr-export-prefetch", daemon=True)
        self._thread.start()

    def __next__(self) -> _Item:
        while not self._stopped.is_set():
            try:
                item, error = self._queue.get(timeout=_POLL)
            except Empty:
                continue
            if error is not None:
                self._stopped.set()
                raise error
            result: _Item = item
            return result
        raise StopIteration

    def close(self) -> None:
        """Stop the thread. One that waits long for an item is left to end with the program."""
        self._stopped.set()
        self._thread.join(_PATIENCE)

    def _draw(self, items: Iterable[_Item]) -> None:
        error: BaseException = StopIteration()
        try:
            for item in items:
                if not self._put(item, None):
                    return
        except BaseException as raised:
            error = raised
        self._put(None, error)

    def _put(self, item: _Item | None, error: BaseException | None) -> bool:
        """Put an item, or the error in its place, in the queue; returns False if the thread is to stop."""
        while not self._stopped.is_set():
            try:
                self._queue.put((item, error), timeout=_POLL)
            except Full:
                continue
            return True
        return False


class BackgroundWorker:
    """Run calls on a thread, one after another. At most one is waiting; its error is raised by the next `run`."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="dpr-export-background")
        self._last: Future[None] | None = None

    def run(self, call: Callable[[], None]) -> None:
        """Wait for the last call, and start this one."""
        self.wait()
        self._last = self._pool.submit(call)

    def wait(self) -> None:
        """Wait for the last call.

        Raises:
            Exception: what the call raised.
        """
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def close(self) -> None:
        """End the thread, after the call that is running."""
        self._pool.shutdown(wait=True)
