"""Calls are padded up to a table of sizes, split, and cut back to what they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpr_export.models.kinds import KINDS
from dpr_export.runtime.engines.nvidia.shape_buckets import (
    GRAPH_TOKENS,
    LENGTHS,
    MOST_TOKENS,
    Bucket,
    buckets_for,
    buffer_sizes,
    corner,
    padded_to,
    pieces,
    true_shape,
)
from dpr_export.runtime.engines.session import Feeds

SHAPES = {"of_rows": (None,), "of_tokens": (None, None), "of_vectors": (None, 3)}


def call(rows: int, length: int) -> Feeds:
    """A call in which every number tells its place."""
    ids = np.arange(rows * length).reshape(rows, length) + 1
    return {"input_ids": ids, "attention_mask": np.ones((rows, length), np.int64)}


def computed(feeds: Feeds) -> dict[str, np.ndarray]:
    """Outputs of each row's own tokens, as an engine gives them: padding included."""
    ids = feeds["input_ids"].astype(np.float64)  # in which the sums are exact
    return {
        "of_rows": ids[:, 0],
        "of_tokens": ids * 2,
        "of_vectors": np.stack([ids.max(axis=1), ids[:, 0], ids.sum(axis=1)], axis=1),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_for_bert_is_the_five_lengths_with_as_many_tokens_each(kind: str) -> None:
    table = buckets_for(kind, 512)
    assert [bucket.length for bucket in table] == [32, 64, 128, 256, 512] == list(LENGTHS)
    assert [bucket.most for bucket in table] == [512, 256, 128, 64, 32]
    assert {bucket.usual for bucket in table} == {"question": {1}, "context": {32}, "reader": {16}}[kind]


@given(st.sampled_from(list(KINDS)), st.integers(1, 4096), st.lists(st.integers(1, 4096), max_size=8))
def test_any_table_covers_what_the_model_takes_and_no_more(kind: str, longest: int, lengths: list[int]) -> None:
    table = buckets_for(kind, longest, lengths)
    assert [bucket.length for bucket in table] == sorted({bucket.length for bucket in table})
    assert table[-1].length == longest
    assert {bucket.length for bucket in table} - {longest} == {length for length in lengths if length < longest}
    for bucket in table:
        assert 1 <= bucket.usual <= bucket.most
        assert bucket.most * bucket.length <= max(MOST_TOKENS, bucket.length)


def test_a_length_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="length is 0, and must be at least 1"):
        buckets_for("reader", 512, [32, 0])


@given(st.integers(1, 600), st.sampled_from(LENGTHS))
def test_rows_of_small_calls_are_padded_to_the_next_power_of_two(rows: int, length: int) -> None:
    bucket = next(bucket for bucket in buckets_for("reader", 512) if bucket.length == length)
    padded, recorded = bucket.rows_for(rows)
    if recorded:
        assert rows <= padded < 2 * rows
        assert padded & (padded - 1) == 0
        assert padded * length <= GRAPH_TOKENS
        assert padded <= bucket.most
    else:
        assert padded == rows
        assert rows * length > GRAPH_TOKENS // 2


def test_there_are_few_sizes_to_record() -> None:
    sizes = {(bucket.length, *bucket.rows_for(rows)) for bucket in buckets_for("reader", 512) for rows in range(1, 600)}
    assert len([size for size in sizes if size[2]]) == 8 + 7 + 6 + 5 + 4


@given(st.integers(1, 700), st.integers(1, 512))
def test_pieces_hold_all_rows_in_order_and_are_sizes_of_the_table(rows: int, length: int) -> None:
    table, feeds = buckets_for("context", 512), call(rows, length)
    found = list(pieces(feeds, table))
    for piece in found:
        bucket = table[piece.bucket]
        assert piece.length == length <= bucket.length
        assert piece.bucket == 0 or length > table[piece.bucket - 1].length
        padded, recorded = bucket.rows_for(piece.rows)
        assert recorded is piece.recorded
        assert all(array.shape == (padded, bucket.length) for array in piece.feeds.values())
        assert all(array.dtype == np.int64 for array in piece.feeds.values())
        assert (piece.feeds["attention_mask"][piece.rows :] == 1).all()
        assert (piece.feeds["attention_mask"][: piece.rows, length:] == 0).all()
        assert (piece.feeds["input_ids"][: piece.rows, length:] == 0).all()
    back = np.concatenate([piece.feeds["input_ids"][: piece.rows, :length] for piece in found])
    assert np.array_equal(back, feeds["input_ids"])
    outputs = [(piece, computed(piece.feeds)) for piece in found]
    for name, expected in computed(feeds).items():
        cut = [array[name][corner(true_shape(SHAPES[name], piece.rows, piece.length))] for piece, array in outputs]
        assert np.array_equal(np.concatenate(cut), expected)


def test_what_is_longer_than_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="the sequences are 65 tokens long, and the longest that can be run is 64"):
        list(pieces(call(1, 65), (Bucket(32, 1, 4), Bucket(64, 1, 4))))


def test_a_row_that_is_masked_stays_so_and_added_rows_attend() -> None:
    feeds = {"input_ids": np.array([[7, 8]]), "attention_mask": np.array([[0, 0]])}
    padded = padded_to(feeds, 3, 4)
    assert padded["attention_mask"].tolist() == [[0] * 4, [1] * 4, [1] * 4]
    assert padded["input_ids"].tolist() == [[7, 8, 0, 0], [0] * 4, [0] * 4]


@given(st.integers(1, 700), st.integers(1, 512))
def test_every_piece_fits_the_memory_that_was_planned(rows: int, length: int) -> None:
    table = buckets_for("reader", 512)
    sizes = buffer_sizes(table, ["input_ids", "attention_mask"], SHAPES)
    for piece in pieces(call(rows, length), table):
        size = piece.feeds["input_ids"].shape
        assert all(array.nbytes <= sizes[name] for name, array in piece.feeds.items())
        for name, shape in SHAPES.items():
            assert np.zeros(true_shape(shape, *size), np.float32).nbytes <= sizes[name]


def test_the_memory_that_is_planned_is_reached() -> None:
    table = buckets_for("reader", 512)
    largest = dict.fromkeys(SHAPES, 0)
    for bucket in table:
        for name, shape in SHAPES.items():
            numbers = int(np.prod(true_shape(shape, bucket.most, bucket.length)))
            largest[name] = max(largest[name], 4 * numbers)
    assert buffer_sizes(table, ["input_ids"], SHAPES) == {"input_ids": 8 * MOST_TOKENS, **largest}
