"""Shape buckets: a call is padded up to one of a few sizes, its outputs are cut back, and a large call is split.

Kernels are chosen by shape, and a CUDA graph holds one shape. A small call spends its time launching kernels, so its
rows are padded too, and each size is recorded once and replayed. Added rows attend to their padding, so that none is
fully masked. A fully masked row of the caller's attends to its padding too: it is finite, and not transformers'.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dpr_export.models.kinds import CONTEXT, QUESTION, READER
from dpr_export.runtime.engines.session import Feeds

LENGTHS = (32, 64, 128, 256, 512)
MOST_TOKENS = 16_384
GRAPH_TOKENS = 4_096

# The number of rows that TensorRT tunes kernels for: questions come one at a time, passages many.
USUAL_ROWS = {QUESTION.name: 1, CONTEXT.name: 32, READER.name: 16}

Shape = tuple[int | None, ...]  # an output's; None is the number of rows if it is first, and the length elsewhere


@dataclass(frozen=True, slots=True)
class Bucket:
    """A length that calls are padded to."""

    length: int
    usual: int  # the rows that TensorRT tunes kernels for
    most: int  # the most rows of one call; a larger call is split

    @property
    def profile(self) -> tuple[tuple[int, int], ...]:
        """The shapes of its optimization profile: the smallest, the usual and the largest."""
        return tuple((rows, self.length) for rows in (1, self.usual, self.most))

    def rows_for(self, rows: int) -> tuple[int, bool]:
        """The number of rows after padding, and whether that size is recorded; only then are rows padded.

        >>> Bucket(32, 1, 512).rows_for(3), Bucket(512, 1, 32).rows_for(9)
        ((4, True), (9, False))
        """
        padded = 1 << (rows - 1).bit_length()
        return (padded, True) if padded <= self.most and padded * self.length <= GRAPH_TOKENS else (rows, False)


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a call, padded."""

    bucket: int  # the index of its bucket
    feeds: Feeds  # int64 (padded rows, bucket's length) each
    rows: int  # without padding
    length: int  # without padding
    recorded: bool  # whether this size is run as a CUDA graph


def buckets_for(kind: str, longest: int, lengths: Sequence[int] = LENGTHS) -> tuple[Bucket, ...]:
    """The buckets for a kind of model.

    Args:
        kind: "question", "context" or "reader".
        longest: the model's longest sequence, which always has a bucket.
        lengths: the other lengths; those above `longest` are left out.

    Raises:
        ValueError: a length below 1.

    >>> [(bucket.length, bucket.usual, bucket.most) for bucket in buckets_for("question", 96)]
    [(32, 1, 512), (64, 1, 256), (96, 1, 170)]
    """
    for length in lengths:
        if length < 1:
            raise ValueError(f"length is {length}, and must be at least 1")
    kept = sorted({length for length in lengths if length < longest} | {longest})
    most = {length: max(1, MOST_TOKENS // length) for length in kept}
    return tuple(Bucket(length, min(USUAL_ROWS[kind], most[length]), most[length]) for length in kept)


def pieces(feeds: Feeds, buckets: Sequence[Bucket]) -> Iterator[Piece]:
    """Split a call into pieces that fit the buckets, in order.

    Raises:
        ValueError: the call is longer than the longest bucket.
    """
    rows, length = feeds["attention_mask"].shape
    number = next((number for number, bucket in enumerate(buckets) if length <= bucket.length), None)
    if number is None:
        raise ValueError(
            f"the sequences are {length} tokens long, and the longest that can be run is {buckets[-1].length}"
        )
    bucket = buckets[number]
    for first in range(0, rows, bucket.most):
        part = {name: array[first : first + bucket.most] for name, array in feeds.items()}
        count = len(part["attention_mask"])
        padded, recorded = bucket.rows_for(count)
        yield Piece(number, padded_to(part, padded, bucket.length), count, length, recorded)


def padded_to(feeds: Feeds, rows: int, length: int) -> Feeds:
    """Pad inputs with zeros at the end; the mask lets the new rows attend to everything.

    >>> padded_to({"attention_mask": np.array([[1, 0]])}, 2, 3)["attention_mask"].tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    padded = {}
    for name, array in feeds.items():
        padded[name] = np.zeros((rows, length), np.int64)
        padded[name][: len(array), : array.shape[1]] = array
    padded["attention_mask"][len(feeds["attention_mask"]) :] = 1
    return padded


def true_shape(shape: Shape, rows: int, length: int) -> tuple[int, ...]:
    """An output's shape at a size.

    >>> true_shape((None, 768), 2, 16), true_shape((None, None), 2, 16)
    ((2, 768), (2, 16))
    """
    return tuple(
        (rows, length)[min(axis, 1)] if dimension is None else dimension for axis, dimension in enumerate(shape)
    )


def corner(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The index that cuts a padded array back to a shape."""
    return tuple(slice(size) for size in shape)


def buffer_sizes(buckets: Sequence[Bucket], inputs: Sequence[str], outputs: Mapping[str, Shape]) -> dict[str, int]:
    """The bytes of each input (int64) and output (float32) in the largest call.

    >>> buffer_sizes([Bucket(32, 1, 4), Bucket(64, 1, 2)], ["input_ids"], {"pooler_output": (None, 8)})
    {'input_ids': 1024, 'pooler_output': 128}
    """

    def largest(shape: Shape, dtype: type) -> int:
        numbers = max(math.prod(true_shape(shape, bucket.most, bucket.length)) for bucket in buckets)
        return numbers * np.dtype(dtype).itemsize

    sizes = {name: largest((None, None), np.int64) for name in inputs}
    return sizes | {name: largest(shape, np.float32) for name, shape in outputs.items()}
