"""Stages that work at the same time, each on a thread of its own, and what share of the time each was at work.

A stage is an iterator. `ahead` draws from it on a thread, a few items before they are asked for, so that reading,
tokenizing, computing and writing overlap and none of them holds more than a few items.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

_Item = TypeVar("_Item")
_WAIT = 0.1  # seconds between looks at whether to stop


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


def ahead(items: Iterable[_Item], depth: int) -> Generator[_Item, None, None]:
    """Yield items in order, drawn on a thread at most `depth` before they are asked for.

    An error of the items is raised where they are asked for. Closing the generator ends the thread.

    >>> list(ahead(range(3), depth=1))
    [0, 1, 2]
    """
    queue: Queue[tuple[_Item | None, BaseException | None]] = Queue(depth)
    stopped = Event()

    def put(item: _Item | None, error: BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                queue.put((item, error), timeout=_WAIT)
            except Full:
                continue
            return True
        return False

    def draw() -> None:
        try:
            for item in items:
                if not put(item, None):
                    return
        except BaseException as error:
            put(None, error)
        else:
            put(None, StopIteration())

    thread = Thread(target=draw, name="dpr-export-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = _taken(queue)
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # an item stands beside no error
    finally:
        stopped.set()
        thread.join()


def _taken(queue: "Queue[_Item]") -> _Item:
    """The queue's next item; a wait that Ctrl-C ends."""
    while True:
        try:
            return queue.get(timeout=_WAIT)
        except Empty:
            continue


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
