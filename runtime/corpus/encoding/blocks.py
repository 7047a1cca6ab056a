"""Cut a corpus into blocks, one for each shard, and each block into windows whose passages are sorted by length.

Both depend on the input alone: a block gives the same batches whoever computes it, and whenever.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

import numpy as np

from dpr_export.runtime.corpus.passages import Passage, Progress
from dpr_export.runtime.inference.batching import TokenizedRows
from dpr_export.runtime.inference.encoders import DPRContextEncoder, Vectors

WINDOW = 2048  # passages that are sorted together: more hardly save padding, and all of them are held in memory
CHARACTERS = 1 << 22  # of a window: three times as many as 2048 passages of 100 words have


@dataclass(frozen=True, slots=True)
class Block:
    """The passages of one shard.

    Attributes:
        number: the shard's number.
        passages: the passages, at least one.
        skipped: how many malformed rows of the input were skipped up to here.
    """

    number: int
    passages: Sequence[Passage]
    skipped: int


@dataclass(frozen=True, slots=True)
class Window:
    """The tokenized rows of some passages of a block; `is_last` for the last window of the block."""

    block: Block
    rows: TokenizedRows
    is_last: bool


def cut_into_blocks(
    passages: Iterable[Passage], size: int, is_wanted: Callable[[int], bool], progress: Progress
) -> Iterator[Block]:
    """Yield the wanted blocks of a corpus.

    Args:
        passages: the passages.
        size: how many passages a block has; the last one may have fewer.
        is_wanted: tells from a block's number whether to yield it.
        progress: how far `passages` has been read.
    """
    iterator = iter(passages)
    for number in count():
        block = list(islice(iterator, size))
        if not block:
            return
        if is_wanted(number):
            yield Block(number, block, progress.skipped)


def tokenize_blocks(model: DPRContextEncoder, blocks: Iterable[Block], segments: str) -> Iterator[Window]:
    """Tokenize blocks, one window at a time."""
    for block in blocks:
        left = len(block.passages)
        for passages in cut_into_windows(block.passages):
            left -= len(passages)
            texts = [(each.text,) if each.title is None else (each.title, each.text) for each in passages]
            yield Window(block, model.tokenize(texts, segments), not left)


def cut_into_windows(passages: Sequence[Passage]) -> Iterator[list[Passage]]:
    """Cut passages into windows of at most WINDOW passages and CHARACTERS characters, or of one longer passage."""
    window, characters = list[Passage](), 0
    for passage in passages:
        size = len(passage.text) + len(passage.title or "")
        if window and (len(window) == WINDOW or characters + size > CHARACTERS):
            yield window
            window, characters = [], 0
        window.append(passage)
        characters += size
    yield window


def encode_windows(
    model: DPRContextEncoder,
    windows: Iterable[Window],
    batch_tokens: int,
    watch: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[Block, Vectors]]:
    """Yield each block with its vectors, float32 (passages, dim), in order.

    `watch` is called after each batch with the number of passages that it held.
    """
    waiting: deque[Window] = deque()

    def rows() -> Iterator[TokenizedRows]:
        for window in windows:
            waiting.append(window)
            yield window.rows

    parts: list[Vectors] = []
    for vectors in model.encode_windows(rows(), batch_tokens, watch):
        window = waiting.popleft()
        parts.append(vectors)
        if window.is_last:
            yield window.block, np.concatenate(parts)
            parts.clear()
