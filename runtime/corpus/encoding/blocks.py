"""A corpus cut into blocks, one for each shard, and each block into windows, which are sorted by length.

Both are functions of the input alone: whoever computes a block, whenever, runs the same batches.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dpr_export.runtime.corpus.passages import Passage, Progress
from dpr_export.runtime.inference.batching import Rows
from dpr_export.runtime.inference.encoders import DPRContextEncoder, Vectors

WINDOW = 2048  # passages that are sorted together: more hardly save padding, and all of them are held
CHARACTERS = 1 << 22  # of a window: three times what so many passages of 100 words have


@dataclass(frozen=True, slots=True)
class Block:
    """The passages of one shard.

    Attributes:
        number: the shard's.
        rows: the passages, of which there is one at least.
        skipped: how many rows of the input that were no passages were met by then.
    """

    number: int
    rows: Sequence[Passage]
    skipped: int


@dataclass(frozen=True, slots=True)
class Window:
    """Some passages of a block, tokenized."""

    block: Block
    rows: Rows
    last: bool


@dataclass(slots=True)
class Wanted:
    """Which blocks are to be computed: those of a slice, but for those that are there.

    Attributes:
        index, count: every `count`-th block from the `index`-th, counted from 1.
        done: the numbers of those that are there.
    """

    index: int
    count: int
    done: frozenset[int]

    def __contains__(self, number: int) -> bool:
        return number % self.count == self.index - 1 and number not in self.done


def blocks_of(rows: Iterable[Passage], size: int, wanted: Wanted, read: Progress) -> Iterator[Block]:
    """Cut a corpus into blocks of `size` passages, the last may have fewer, and yield those that are wanted.

    Args:
        rows: the passages.
        size: how many a block has.
        wanted: which blocks.
        read: how far `rows` was read.
    """
    number, block = 0, []
    for row in rows:
        block.append(row)
        if len(block) == size:
            if number in wanted:
                yield Block(number, block, read.skipped)
            number, block = number + 1, []
    if block and number in wanted:
        yield Block(number, block, read.skipped)


def windows_of(model: DPRContextEncoder, blocks: Iterable[Block], segments: str) -> Iterator[Window]:
    """Tokenize blocks, a window at a time."""
    done = 0
    for block in blocks:
        left = len(block.rows)
        for few in _windows(block.rows):
            left -= len(few)
            texts = [(row.text,) if row.title is None else (row.title, row.text) for row in few]
            yield Window(block, model.tokenized(done, texts, segments), not left)
            done += len(few)


def _windows(rows: Sequence[Passage]) -> Iterator[list[Passage]]:
    """Cut rows so that none has more than WINDOW, and only one of a single row more than CHARACTERS."""
    few, characters = list[Passage](), 0
    for row in rows:
        size = len(row.text) + len(row.title or "")
        if few and (len(few) == WINDOW or characters + size > CHARACTERS):
            yield few
            few, characters = [], 0
        few.append(row)
        characters += size
    yield few


def encoded(
    model: DPRContextEncoder,
    windows: Iterable[Window],
    batch_tokens: int,
    watch: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[Block, Vectors]]:
    """Yield each block with its vectors, float32 (rows, dim), in order; `watch` is told how many more are computed."""
    waiting: deque[Window] = deque()

    def tokens() -> Iterator[Rows]:
        for window in windows:
            waiting.append(window)
            yield window.rows

    parts: list[Vectors] = []
    for vectors in model.vectors_of(tokens(), batch_tokens, watch):
        window = waiting.popleft()
        parts.append(vectors)
        if window.last:
            yield window.block, np.concatenate(parts)
            parts.clear()
