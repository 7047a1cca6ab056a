"""Draw the items of a stage of a job on a thread of its own, so that stages overlap and none holds more than a few."""

from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_PATIENCE = 2.0  # seconds that a thread is given to end


class Prefetch(Iterator[_Item]):
    """Draw items on a thread, in order, at most `depth` before they are asked for.

    An error of the items is raised in the place of the item.

    >>> list(Prefetch(range(3), depth=1))
    [0, 1, 2]
    """

    def __init__(self, items: Iterable[_Item], depth: int) -> None:
        self._queue: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._room = Semaphore(depth)
        self._is_closed = False
        self._thread = Thread(target=self._draw, args=(items,), name="dpr-export-prefetch", daemon=True)
        self._thread.start()

    def __next__(self) -> _Item:
        if self._is_closed:
            raise StopIteration
        item, error = self._queue.get()
        self._room.release()
        if error is not None:
            self._is_closed = True
            raise error
        result: _Item = item
        return result

    def close(self) -> None:
        """Stop the thread. One that waits long for an item is left to end with the program."""
        self._is_closed = True
        self._room.release()  # for the thread, if it waits
        self._queue.put((None, StopIteration()))  # for who waits for an item
        self._thread.join(_PATIENCE)

    def _draw(self, items: Iterable[_Item]) -> None:
        end: BaseException = StopIteration()
        try:
            for item in items:
                self._room.acquire()
                if self._is_closed:
                    return
                self._queue.put((item, None))
        except BaseException as error:
            end = error
        self._queue.put((None, end))
