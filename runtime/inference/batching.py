"""Cut tokenized rows into batches of about the same cost, and run them.

Rows are sorted by length first, which keeps padding low: DPR's texts have 10 to 512 tokens. Batches depend on the rows'
lengths alone, so the same input always gives the same batches. Each row is padded once, to the length that the engine
runs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from dpr_export.runtime.engines.session import Feeds, Outputs, Session

Rows = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class TokenizedRows:
    """Tokenized texts that are sorted together; each entry of a column is one row. A reader has no token types."""

    input_ids: Rows
    token_type_ids: Rows | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that run together.

    Attributes:
        positions: int64 (rows,), the place of each row among all rows of the run.
        feeds: the graph's inputs, int64 (rows, length) each; the mask leaves out the padding.
        is_last: whether it is the last batch of its chunk.
    """

    positions: NDArray[np.int64]
    feeds: Feeds
    is_last: bool


def run_rows(
    session: Session,
    chunks: Iterable[TokenizedRows],
    *,
    pad_token_id: int,
    longest: int,
    batch_tokens: int | None = None,
) -> Iterator[tuple[Batch, Outputs]]:
    """Run rows of any lengths in batches, and yield each batch with its outputs.

    The next chunks are drawn while earlier batches are computed: a generator of chunks tokenizes meanwhile.

    Args:
        session: the engine's session.
        chunks: the rows; the rows of one chunk are sorted and batched together.
        pad_token_id: the id that shorter rows are padded with.
        longest: the longest row that the model takes, in tokens.
        batch_tokens: how many tokens, padding included, one batch may have; None: as many as suit the engine.

    Yields:
        Each batch, with outputs that have one entry per row on their first axis.
    """
    multiple = session.length_multiple
    batches, ahead = tee(
        make_batches(
            chunks,
            session.batch_tokens if batch_tokens is None else batch_tokens,
            pad_token_id,
            lambda length: min(-(-length // multiple) * multiple, longest),
        )
    )
    for outputs in session.run_all(batch.feeds for batch in ahead):
        yield next(batches), outputs


def make_batches(
    chunks: Iterable[TokenizedRows], budget: int, pad_token_id: int, round_length: Callable[[int], int] = int
) -> Iterator[Batch]:
    """Cut chunks of rows into padded batches; see `cut_by_tokens` for the budget and `round_length`."""
    first = 0
    for chunk in chunks:
        lengths = np.array([len(row) for row in chunk.input_ids], np.int64)
        left = len(lengths)
        for places, length in cut_by_tokens(lengths, budget, round_length):
            left -= len(places)
            feeds = {
                "input_ids": pad([chunk.input_ids[place] for place in places], length, pad_token_id),
                "attention_mask": (np.arange(length) < lengths[places, None]).astype(np.int64),
            }
            if chunk.token_type_ids is not None:
                feeds["token_type_ids"] = pad([chunk.token_type_ids[place] for place in places], length, 0)
            yield Batch(places + first, feeds, is_last=not left)
        first += len(lengths)


def cut_by_tokens(
    lengths: NDArray[np.int64], budget: int, round_length: Callable[[int], int] = int
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield batches whose padded size, rows x length, stays within `budget` tokens, longest rows first.

    A row longer than the budget makes a batch of its own. The longest come first, so that too little memory shows at
    once.

    Args:
        lengths: the length of each row.
        budget: in tokens.
        round_length: the length that the engine runs for a batch whose longest row has that many tokens.

    Yields:
        The places of a batch's rows in `lengths`, and the length to pad them to.

    Raises:
        ValueError: `budget` is no integer, or below 1.

    >>> [(places.tolist(), length) for places, length in cut_by_tokens(np.array([5, 1, 4]), budget=8)]
    [([0], 5), ([2, 1], 4)]
    """
    if not isinstance(budget, Integral) or budget < 1:
        raise ValueError(f"batch_tokens is {budget!r}, and must be an integer of at least 1")
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        length = round_length(int(lengths[order[start]]))
        rows = max(1, budget // max(1, length))
        yield order[start : start + rows], length
        start += rows


def pad(rows: Rows, length: int, value: int) -> NDArray[np.int64]:
    """Stack rows into one array, int64 (rows, length), padded at the end with `value`.

    >>> pad([[1, 2, 3], [4]], length=3, value=0).tolist()
    [[1, 2, 3], [4, 0, 0]]
    """
    array = np.full((len(rows), length), value, dtype=np.int64)
    for index, row in enumerate(rows):
        array[index, : len(row)] = row
    return array
