"""Batches hold every row once, keep to their budget, and depend on the lengths alone."""

import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpr_export.runtime.engines.concurrency import overlapped
from dpr_export.runtime.inference.batching import TokenizedRows, cut_by_tokens, run_rows
from tests.doubles.fake_session import FakeSession

LENGTHS = st.lists(st.integers(1, 512), max_size=60)


def cut(lengths: list[int], budget: int, multiple: int) -> Iterator[tuple[np.ndarray, int]]:
    return cut_by_tokens(np.array(lengths, int), budget, lambda length: math.ceil(length / multiple) * multiple)


@given(LENGTHS, st.integers(1, 4096), st.sampled_from((1, 8)))
def test_every_row_stands_in_one_batch_that_keeps_its_budget(lengths: list[int], budget: int, multiple: int) -> None:
    batches = list(cut(lengths, budget, multiple))
    assert sorted(place for places, _ in batches for place in places.tolist()) == list(range(len(lengths)))
    for places, length in batches:
        assert length == math.ceil(max(lengths[place] for place in places) / multiple) * multiple
        assert len(places) == 1 or len(places) * length <= budget


@given(LENGTHS, st.integers(1, 4096), st.sampled_from((1, 8)))
def test_no_batch_could_take_the_row_that_opens_the_next(lengths: list[int], budget: int, multiple: int) -> None:
    for places, length in list(cut(lengths, budget, multiple))[:-1]:
        assert (len(places) + 1) * length > budget


def test_a_budget_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_tokens is 0, and must be an integer of at least 1"):
        list(cut([1], 0, 1))


@given(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=20), min_size=1, max_size=20),
    st.integers(1, 50),
    st.integers(1, 20),
    st.integers(1, 3),
    st.sampled_from((1, 8)),
)
def test_each_row_reaches_the_session_padded_and_masked_and_comes_back_to_its_place(
    rows: list[list[int]], budget: int, size: int, workers: int, multiple: int
) -> None:
    def masked_sum(feeds: dict) -> dict:
        assert (feeds["input_ids"][feeds["attention_mask"] == 0] == 7).all()
        length = feeds["input_ids"].shape[1]
        assert length % multiple == 0 or length == 20
        return {"pooler_output": (feeds["input_ids"] * feeds["attention_mask"]).sum(axis=1)}

    found = np.zeros(len(rows))
    chunks = [TokenizedRows(rows[first : first + size]) for first in range(0, len(rows), size)]
    session = FakeSession(masked_sum)
    session.length_multiple = multiple
    session.run_all = partial(overlapped, session.run, workers=workers)
    for batch, outputs in run_rows(session, chunks, pad_token_id=7, longest=20, batch_tokens=budget):
        found[batch.positions] = outputs["pooler_output"]
    assert found.tolist() == [sum(row) for row in rows]


def test_token_types_are_given_where_they_are_and_padded_with_zeros() -> None:
    session = FakeSession(lambda _: {})
    list(run_rows(session, [TokenizedRows([[1, 2]])], pad_token_id=0, longest=9))
    list(run_rows(session, [TokenizedRows([[1, 2], [3]], [[0, 1], [1]])], pad_token_id=0, longest=9))
    assert list(session.calls[0]) == ["input_ids", "attention_mask"]
    assert session.calls[1]["token_type_ids"].tolist() == [[0, 1], [1, 0]]


def test_the_next_call_is_drawn_while_the_one_before_is_computed() -> None:
    drawn = threading.Event()

    def calls() -> Iterator[dict]:
        yield {"number": 1}
        yield {"number": 2}
        drawn.set()
        yield {"number": 3}

    def run(feeds: dict) -> dict:
        return {"next is drawn": feeds["number"] != 2 or drawn.wait(5)}

    assert list(overlapped(run, calls(), workers=1)) == [{"next is drawn": True}] * 3


def test_a_single_call_starts_no_thread() -> None:
    here = threading.get_ident()
    assert list(overlapped(lambda _: {"thread": threading.get_ident()}, [{}], workers=2)) == [{"thread": here}]
    assert list(overlapped(lambda feeds: feeds, [], workers=2)) == []


def test_an_error_of_a_call_or_of_drawing_one_ends_the_run() -> None:
    def fails(feeds: dict) -> dict:
        raise RuntimeError(f"call {feeds['n']}")

    def calls() -> Iterator[dict]:
        yield {"n": 1}
        raise ValueError("no room")

    with pytest.raises(RuntimeError, match="call 0"):
        list(overlapped(fails, [{"n": n} for n in range(9)], workers=2))
    with pytest.raises(ValueError, match="no room"):
        list(overlapped(lambda feeds: feeds, calls(), workers=2))


def test_calls_are_still_computed_when_the_main_thread_has_ended() -> None:
    """A program may leave its work to threads; Python then starts no more of them in pools."""
    code = """
import threading, time
from dpr_export.runtime.engines.concurrency import overlapped

def serve():
    threading.main_thread().join()
    time.sleep(0.1)
    print(list(overlapped(lambda feeds: feeds, [{"n": 1}, {"n": 2}, {"n": 3}], workers=2)))

threading.Thread(target=serve).start()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[{'n': 1}, {'n': 2}, {'n': 3}]\n", done.stderr
