"""Cut rows into batches that cost about the same.

Sorting by length before cutting keeps padding low: DPR's texts vary from 10 tokens to 512, and padding is all that
batching wastes on a CPU. Batches are a function of the lengths alone, so the same input always gives the same batches.
The order is restored by the caller with `Batch.positions`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from dpr_export.runtime.engines.session import Feeds, Outputs


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are run together.

    Attributes:
        positions: int64 (rows,), where each row stood in the input.
        length: the longest row, which the others are padded to.
    """

    positions: NDArray[np.int64]
    length: int


def by_token_budget(lengths: Sequence[int], budget: int, multiple: int = 1) -> Iterator[Batch]:
    """Yield batches whose padded size, rows x longest row, stays within `budget` tokens; longest rows first.

    A single row longer than the budget makes a batch of its own. Longest first, so that memory that is too small shows
    at once.

    Args:
        lengths: of each row.
        budget: in tokens.
        multiple: what the engine pads lengths to a multiple of. That counts, and leaves the engine fewer shapes.

    Raises:
        ValueError: `budget` is no integer, or below 1.

    >>> [batch.positions.tolist() for batch in by_token_budget([5, 1, 4], budget=8)]
    [[0], [2, 1]]
    """
    if not isinstance(budget, Integral) or budget < 1:
        raise ValueError(f"batch_tokens is {budget!r}, and must be an integer of at least 1")
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < len(order):
        length = lengths[order[start]]
        rows = max(1, budget // max(1, -(-length // multiple) * multiple))
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


@dataclass(frozen=True, slots=True)
class Rows:
    """Some tokenized rows, of those that are run together.

    Attributes:
        first: the place of their first among all.
        input_ids: the rows' tokens.
        token_type_ids: the rows' token types, or None.
    """

    first: int
    input_ids: Sequence[Sequence[int]]
    token_type_ids: Sequence[Sequence[int]] | None = None


def run_rows(
    run_all: Callable[[Iterable[Feeds]], Iterator[Outputs]],
    chunks: Iterable[Rows],
    *,
    pad_token_id: int,
    batch_tokens: int,
    length_multiple: int = 1,
) -> Iterator[tuple[Batch, Outputs]]:
    """Run rows of any lengths in batches, and yield each batch with its outputs.

    The chunks are drawn one after another while those before them are computed: where drawing one tokenizes it, both
    go on at once.

    Args:
        run_all: given calls of input_ids, attention_mask and, if the rows have them, token_type_ids, int64 (rows,
            sequence); gives their outputs, in order.
        chunks: the rows; each chunk is cut into batches of its own.
        pad_token_id: what the shorter rows of a batch are filled up with; the mask leaves it out.
        batch_tokens, length_multiple: the budget of `by_token_budget`, and its multiple.
    """
    waiting: deque[Batch] = deque()

    def calls() -> Iterator[Feeds]:
        for chunk in chunks:
            for batch in by_token_budget([len(row) for row in chunk.input_ids], batch_tokens, length_multiple):
                waiting.append(Batch(batch.positions + chunk.first, batch.length))
                yield _feeds(chunk, batch, pad_token_id)

    for outputs in run_all(calls()):
        yield waiting.popleft(), outputs


def _feeds(chunk: Rows, batch: Batch, pad_token_id: int) -> Feeds:
    rows = [chunk.input_ids[position] for position in batch.positions]
    feeds = {
        "input_ids": padded(rows, batch.length, pad_token_id),
        "attention_mask": padded([[1] * len(row) for row in rows], batch.length, 0),
    }
    if chunk.token_type_ids is not None:
        types = [chunk.token_type_ids[position] for position in batch.positions]
        feeds["token_type_ids"] = padded(types, batch.length, 0)
    return feeds
