"""Run several calls of one session at the same time, on worker threads, in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice

from dpr_export.runtime.engines.session import Feeds, Outputs


def overlapped(run: Callable[[Feeds], Outputs], calls: Iterable[Feeds], workers: int) -> Iterator[Outputs]:
    """Run calls on `workers` threads, and yield their outputs in order; the next calls are drawn meanwhile.

    A single call is run where it is: a thread would only make it wait.

    >>> list(overlapped(lambda feeds: feeds, [{"a": 1}, {"a": 2}], workers=2))
    [{'a': 1}, {'a': 2}]
    """
    few = list(islice(calls := iter(calls), 2))
    if len(few) < 2:
        yield from map(run, few)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="dpr-export") as pool:
        running: deque[Callable[[], Outputs]] = deque()
        try:
            for feeds in chain(few, calls):
                running.append(_start(pool, run, feeds))
                if len(running) > workers:
                    yield running.popleft()()
            while running:
                yield running.popleft()()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start(pool: ThreadPoolExecutor, run: Callable[[Feeds], Outputs], feeds: Feeds) -> Callable[[], Outputs]:
    """Start a call on a thread, and return a function that waits for its outputs."""
    try:
        return pool.submit(run, feeds).result
    except RuntimeError:  # no thread can be started, as when the program's main thread has ended: compute it here
        outputs = run(feeds)
        return lambda: outputs
