"""Stages that work at the same time, each on a thread of its own, and what share of the time each was at work.

A stage is an iterator. `Ahead` draws from it on a thread, a few items before they are asked for, so that reading,
tokenizing, computing and writing overlap and none of them holds more than a few items.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import NoReturn, TypeVar

_Item = TypeVar("_Item")
_WAIT = 0.1  # seconds between looks at whether to stop
_PATIENCE = 2.0  # seconds that a thread is given to end


@dataclass(slots=True)
class Clock:
    """How many seconds each stage was at work; stages overlap, so that their sum may exceed the time that passed."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, since: float) -> None:
        """Count the time since `since`, of time.perf_counter()."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - since

    def call(self, stage: str, work: Callable[[], None]) -> None:
        """Do some work of a stage."""
        start = time.perf_counter()
        work()
        self.add(stage, start)

    def timed(self, stage: str, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yield items, and count the time that each takes to come."""
        iterator = iter(items)
        while True:
            start = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.add(stage, start)
            yield item


class Ahead(Iterator[_Item]):
    """Items in order, drawn on a thread at most `depth` before they are asked for.

    An error of the items is raised where they are asked for.

    >>> list(Ahead(range(3), depth=1))
    [0, 1, 2]
    """

    def __init__(self, items: Iterable[_Item], depth: int) -> None:
        self._queue: Queue[Callable[[], _Item]] = Queue(depth)
        self._stopped = Event()
        self._thread = Thread(target=self._draw, args=(items,), name="dpr-export-ahead", daemon=True)
        self._thread.start()

    def __next__(self) -> _Item:
        while not self._stopped.is_set():
            try:
                return self._queue.get(timeout=_WAIT)()
            except Empty:
                continue
            except BaseException:
                self._stopped.set()
                raise
        raise StopIteration

    def close(self) -> None:
        """End the thread; one that waits for its items for long is left to end with the program."""
        self._stopped.set()
        self._thread.join(_PATIENCE)

    def _draw(self, items: Iterable[_Item]) -> None:
        error: BaseException = StopIteration()
        try:
            for item in items:
                if not self._put(partial(_given, item)):
                    return
        except BaseException as raised:
            error = raised
        self._put(partial(_raised, error))

    def _put(self, result: Callable[[], _Item]) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(result, timeout=_WAIT)
            except Full:
                continue
            return True
        return False


def _given(item: _Item) -> _Item:
    return item


def _raised(error: BaseException) -> NoReturn:
    raise error


class Behind:
    """Work that is done on a thread, one after another, at most one piece waiting; its error is raised by the next."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="dpr-export-behind")
        self._last: Future[None] | None = None

    def do(self, work: Callable[[], None]) -> None:
        """Start a piece of work once the last is done."""
        self.wait()
        self._last = self._pool.submit(work)

    def wait(self) -> None:
        """Wait for the last piece of work.

        Raises:
            Exception: what it raised.
        """
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def close(self) -> None:
        """End the thread, after what it has begun."""
        self._pool.shutdown(wait=True)
