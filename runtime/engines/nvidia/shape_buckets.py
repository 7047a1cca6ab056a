"""The sizes that a GPU runs: a call is padded up to one of a small table, cut back, and split where it is too large.

Engines for GPUs choose their kernels by shape, and a CUDA graph is a recording of one shape. So lengths are those of a
table, and so is the number of rows of small calls, which a GPU spends launching kernels rather than computing: they are
recorded once, and replayed. Large calls are computed as they are; there a launch costs nothing beside the work.

Rows that are added attend to their padding, so that no row attends to nothing, and are cut off again. A row of the
caller's that is masked altogether attends to its bucket's padding too: its numbers are finite, and not transformers'.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dpr_export.models.kinds import CONTEXT, QUESTION, READER
from dpr_export.runtime.engines.session import Feeds, Outputs

LENGTHS = (32, 64, 128, 256, 512)
MOST_TOKENS = 16_384
GRAPH_TOKENS = 4_096

# The rows that an engine is tuned for: questions come one at a time, passages many.
USUAL_ROWS = {QUESTION.name: 1, CONTEXT.name: 32, READER.name: 16}

Shape = tuple[int | None, ...]  # an output's; None is the rows if it stands first, and else the length


@dataclass(frozen=True, slots=True)
class Bucket:
    """A length that calls are padded to.

    Attributes:
        length: the length.
        usual: the rows that an engine is tuned for.
        most: the most rows of one call; more are split.
    """

    length: int
    usual: int
    most: int

    def rows_for(self, rows: int) -> tuple[int, bool]:
        """How many rows `rows` are padded to, and whether that size is recorded: then it is a power of two.

        >>> Bucket(32, 1, 512).rows_for(3), Bucket(512, 1, 32).rows_for(9)
        ((4, True), (9, False))
        """
        padded = 1 << (rows - 1).bit_length()
        return (padded, True) if padded <= self.most and padded * self.length <= GRAPH_TOKENS else (rows, False)


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a call, padded.

    Attributes:
        bucket: the number of its bucket in the table.
        feeds: int64 (padded rows, bucket's length) each.
        rows: how many rows are the caller's.
        length: how long they were.
        recorded: whether this size is run as a CUDA graph.
    """

    bucket: int
    feeds: Feeds
    rows: int
    length: int
    recorded: bool


def buckets_for(kind: str, longest: int, lengths: Sequence[int] = LENGTHS) -> tuple[Bucket, ...]:
    """The table for a kind of model that takes up to `longest` tokens.

    Args:
        kind: "question", "context" or "reader".
        longest: the model's longest sequence, which is always in the table.
        lengths: the lengths wanted; longer ones than the model's are left out.

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
    """Split a call into pieces that fit the table, in order.

    Raises:
        ValueError: the call is longer than the table's longest.
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


def joined(parts: Sequence[Outputs], shapes: Mapping[str, Shape], sizes: Sequence[tuple[int, int]]) -> Outputs:
    """The outputs of a call: those of its pieces, each cut back to its own rows and length, one after another."""
    cut = [
        {name: part[name][corner(true_shape(shape, *size))] for name, shape in shapes.items()}
        for part, size in zip(parts, sizes, strict=True)
    ]
    if len(cut) == 1:
        return cut[0]
    return {name: np.concatenate([part[name] for part in cut]) for name in shapes}


def corner(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """What cuts a padded array back to a shape."""
    return tuple(slice(size) for size in shape)


@dataclass(frozen=True, slots=True)
class SessionMemory:
    """The device memory of a session, in bytes, for its largest call: the same buffers serve every size.

    Attributes:
        inputs, outputs: by name.
        scratch: what the engine computes in, shared by all profiles, since one call runs at a time.
    """

    inputs: dict[str, int]
    outputs: dict[str, int]
    scratch: int

    @property
    def total(self) -> int:
        return sum(self.inputs.values()) + sum(self.outputs.values()) + self.scratch


def plan_memory(
    buckets: Sequence[Bucket], inputs: Sequence[str], outputs: Mapping[str, Shape], scratch: Sequence[int]
) -> SessionMemory:
    """The memory that a session needs.

    Args:
        buckets: the table.
        inputs: the names of the inputs, int64 (rows, length) each.
        outputs: the outputs' shapes, float32 each.
        scratch: what the engine needs for each bucket's largest call, in bytes.

    >>> plan_memory([Bucket(32, 1, 4), Bucket(64, 1, 2)], ["input_ids"], {"pooler_output": (None, 8)}, [100, 300])
    SessionMemory(inputs={'input_ids': 1024}, outputs={'pooler_output': 128}, scratch=300)
    """
    tokens = max(bucket.most * bucket.length for bucket in buckets)
    largest = {
        name: max(int(np.prod(true_shape(shape, bucket.most, bucket.length))) for bucket in buckets)
        for name, shape in outputs.items()
    }
    return SessionMemory(
        {name: tokens * np.dtype(np.int64).itemsize for name in inputs},
        {name: numbers * np.dtype(np.float32).itemsize for name, numbers in largest.items()},
        max(scratch, default=0),
    )
