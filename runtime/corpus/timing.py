"""Measure how long the stages of a job are at work."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

_Item = TypeVar("_Item")


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the time that the context takes to `seconds[stage]`."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start


def timed_items(seconds: dict[str, float], stage: str, items: Iterable[_Item]) -> Iterator[_Item]:
    """Yield items, and add the time that each takes to come to `seconds[stage]`."""
    iterator, end = iter(items), object()
    while True:
        with timed(seconds, stage):
            item: Any = next(iterator, end)
        if item is end:
            return
        yield item
