"""Cut a corpus into blocks, one for each shard, and each block into windows whose passages are sorted by length.

Both depend on the input alone: a block gives the same batches whoever computes it, and whenever.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee

import numpy as np

from dpr_export.runtime.corpus.passages import Passage
from dpr_export.runtime.inference.batching import TokenizedRows
from dpr_export.runtime.inference.encoders import DPRContextEncoder, Vectors
from dpr_export.runtime.inference.texts import encoder_row

WINDOW = 2048  # passages that are sorted together: more hardly save padding, and all of them are held in memory
CHARACTERS = 1 << 22  # of a window: three times as many as 2048 passages of 100 words have


@dataclass(frozen=True, slots=True)
class Block:
    """The passages of one shard."""

    number: int  # the shard's
    passages: Sequence[Passage]  # at least one
    skipped: int  # how many malformed rows of the input were skipped up to here


EncodedBlocks = Generator[tuple[Block, Vectors], None, None]
Window = tuple[Block, TokenizedRows]  # the rows are those of some passages of the block


def tokenize_blocks(model: DPRContextEncoder, blocks: Iterable[Block], segments: str) -> Iterator[Window]:
    """Tokenize blocks, one window at a time."""
    for block in blocks:
        for passages in cut_into_windows(block.passages):
            rows = [encoder_row(each.title, each.text) for each in passages]
            yield block, model.tokenize(rows, segments)


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
    model: DPRContextEncoder, windows: Iterable[Window], batch_tokens: int, watch: Callable[[int], None]
) -> EncodedBlocks:
    """Yield each block with its vectors, float32 (passages, dim), in order.

    `watch` is called after each batch with the number of passages that it held.
    """
    parts: list[Vectors] = []
    windows, ahead = tee(windows)
    encoded = model.encode_windows((rows for _, rows in ahead), batch_tokens, watch)
    for vectors, (block, _) in zip(encoded, windows, strict=True):
        parts.append(vectors)
        if sum(map(len, parts)) == len(block.passages):
            yield block, np.concatenate(parts)
            parts.clear()
