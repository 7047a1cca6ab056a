"""Stages overlap, in order and within bounds, and end when they are told to."""

import threading
import time
from collections.abc import Iterator

import pytest

from dpr_export.runtime.corpus.encoding.pipeline import Prefetch
from dpr_export.runtime.corpus.timing import timed, timed_items


def alive() -> int:
    return sum(thread.name.startswith("dpr-export") for thread in threading.enumerate())


def test_items_come_in_order_and_no_more_are_drawn_than_was_said() -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            drawn.append(number)
            yield number

    stage = Prefetch(items(), depth=3)
    for _ in range(100):
        if len(drawn) == 4:
            break
        time.sleep(0.05)
    time.sleep(0.2)
    assert len(drawn) == 4  # three wait, and one is held
    assert list(stage) == list(range(100))
    stage.close()
    assert list(stage) == []


def test_an_error_comes_where_its_item_would_have() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("lost")

    stage = Prefetch(items(), depth=5)
    assert next(stage) == 1
    with pytest.raises(ValueError, match="lost"):
        next(stage)
    with pytest.raises(StopIteration):
        next(stage)
    stage.close()
    assert alive() == 0


def test_stages_that_wait_for_each_other_end_when_they_are_closed() -> None:
    stuck = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        stuck.wait()

    first = Prefetch(items(), depth=1)
    second = Prefetch((each for each in first), depth=1)
    assert next(second) == 1
    start = time.monotonic()
    second.close()
    first.close()
    assert time.monotonic() - start < 10
    stuck.set()
    for _ in range(50):
        if not alive():
            return
        time.sleep(0.1)
    raise AssertionError("a thread goes on")


def test_the_time_of_each_stage_is_added_up() -> None:
    def slow() -> Iterator[int]:
        for number in range(3):
            time.sleep(0.02)
            yield number

    seconds: dict[str, float] = {}
    assert list(timed_items(seconds, "reading", slow())) == [0, 1, 2]
    for _ in range(2):
        with timed(seconds, "writing"):
            time.sleep(0.03)
    assert seconds["reading"] >= 0.06
    assert seconds["writing"] >= 0.06
