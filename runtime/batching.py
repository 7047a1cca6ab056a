"""Cut rows into batches that cost about the same.

Sorting by length before cutting keeps padding low: DPR's texts vary from 10 tokens to 512, and padding is all that
batching wastes on a CPU. Batches are a function of the lengths alone, so the same input always gives the same batches.
The order is restored by the caller with `Batch.positions`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpr_export.runtime.session import Feeds, Outputs

BATCH_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are run together.

    Attributes:
        positions: int64 (rows,), where each row stood in the input.
        length: the longest row, which the others are padded to.
    """

    positions: NDArray[np.int64]
    length: int


def by_token_budget(lengths: Sequence[int], budget: int = BATCH_TOKENS) -> Iterator[Batch]:
    """Yield batches whose padded size, rows x longest row, stays within `budget` tokens; longest rows first.

    A single row longer than the budget makes a batch of its own. Longest first, so that memory that is too small shows
    at once.

    Raises:
        ValueError: `budget` is below 1.

    >>> [batch.positions.tolist() for batch in by_token_budget([5, 1, 4], budget=8)]
    [[0], [2, 1]]
    """
    if budget < 1:
        raise ValueError(f"batch_tokens is {budget}, and must be at least 1")
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < len(order):
        length = lengths[order[start]]
        rows = max(1, budget // max(1, length))
        yield Batch(order[start : start + rows], length)
        start += rows


def padded(rows: Sequence[Sequence[int]], length: int, fill: int) -> NDArray[np.int64]:
    """Stack rows into one array, int64 (rows, length), filled up at the end.

    >>> padded([[1, 2, 3], [4]], length=3, fill=0).tolist()
    [[1, 2, 3], [4, 0, 0]]
    """
    array = np.full((len(rows), length), fill, dtype=np.int64)
    for index, row in enumerate(rows):
        array[index, : len(row)] = row
    return array


def run_rows(
    run: Callable[[Feeds], Outputs],
    input_ids: Sequence[Sequence[int]],
    token_type_ids: Sequence[Sequence[int]] | None = None,
    *,
    pad_token_id: int,
    batch_tokens: int = BATCH_TOKENS,
) -> Iterator[tuple[Batch, Outputs]]:
    """Run rows of any lengths in batches, and yield each batch with its outputs.

    Args:
        run: given input_ids, attention_mask and, if they are given here, token_type_ids, int64 (rows, sequence).
        input_ids: the rows' tokens.
        token_type_ids: the rows' token types, or None.
        pad_token_id: what the shorter rows of a batch are filled up with; the mask leaves it out.
        batch_tokens: the budget of `by_token_budget`.
    """
    for batch in by_token_budget([len(row) for row in input_ids], batch_tokens):
        rows = [input_ids[position] for position in batch.positions]
        feeds = {
            "input_ids": padded(rows, batch.length, pad_token_id),
            "attention_mask": padded([[1] * len(row) for row in rows], batch.length, 0),
        }
        if token_type_ids is not None:
            feeds["token_type_ids"] = padded(
                [token_type_ids[position] for position in batch.positions], batch.length, 0
            )
        yield batch, run(feeds)
