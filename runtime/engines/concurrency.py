"""Run several calls of one session at the same time, on worker threads, in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

_Call = TypeVar("_Call")
_Result = TypeVar("_Result")


def overlapped(run: Callable[[_Call], _Result], calls: Iterable[_Call], workers: int) -> Iterator[_Result]:
    """Run calls on `workers` threads, and yield their results in order; the next calls are drawn meanwhile.

    A single call runs on the calling thread, since a worker thread would only delay it.

    >>> list(overlapped(str, [1, 2], workers=2))
    ['1', '2']
    """
    few = list(islice(calls := iter(calls), 2))
    if len(few) < 2:
        yield from map(run, few)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="dpr-export") as pool:
        running: deque[Callable[[], _Result]] = deque()
        try:
            for call in chain(few, calls):
                running.append(_start(pool, run, call))
                if len(running) > workers:
                    yield running.popleft()()
            while running:
                yield running.popleft()()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start(pool: ThreadPoolExecutor, run: Callable[[_Call], _Result], call: _Call) -> Callable[[], _Result]:
    """Start a call on a thread, and return a function that waits for its result."""
    try:
        return pool.submit(run, call).result
    except RuntimeError:  # no thread can be started, as when the program's main thread has ended: compute it here
        result = run(call)
        return lambda: result
