"""What is left to do of a job, by whoever does it: which blocks, where their shards are written, what it came to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpr_export.runtime.corpus.begin import begun
from dpr_export.runtime.corpus.blocks import Block, Wanted, blocks_of
from dpr_export.runtime.corpus.job import Job, finished, hash_of, identity, write_job
from dpr_export.runtime.corpus.read import Progress, read_corpus
from dpr_export.runtime.corpus.shards import DTYPES, Vectors, read_shard, shard_numbers, sweep, write_shard

STAGES = ("reading", "tokenizing", "computing", "writing")
Tell = Callable[[str], None]
Watch = Callable[[int, Progress], None]


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a job did.

    Attributes:
        passages: how many passages it encoded, without those that were there.
        skipped: how many rows it left out.
        shards: how many shards it wrote.
        there: how many of its shards had been there already.
        seconds: how long it took, without loading the model.
        busy: how many seconds each of STAGES was at work; they overlap.
    """

    passages: int
    skipped: int
    shards: int
    there: int
    seconds: float
    busy: dict[str, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """A job, and the part of it that this process does: every `count`-th shard from the `index`-th, counted from 1."""

    job: Job
    folder: Path
    part: tuple[int, int]
    wanted: Wanted
    tell: Tell

    def blocks(self, read: Progress) -> Iterator[Block]:
        """The blocks that are to be computed."""
        source = self.job.input
        rows = read_corpus(source.name, source.format, on_error=self.job.on_error, tell=self.tell, progress=read)
        return blocks_of(rows, self.job.shard_size, self.wanted, read)

    def write(self, block: Block, vectors: Vectors) -> None:
        """Write a block's shard.

        Raises:
            ValueError: a number is not finite in the type that is stored.
        """
        with np.errstate(over="ignore"):
            stored = vectors.astype(DTYPES[self.job.dtype])
        if not np.isfinite(stored).all():
            raise ValueError(
                f"a vector of shard {block.number} is not finite in {self.job.dtype}: store fp32 (--dtype)"
            )
        write_shard(self.folder, block.number, identity(self.job), block.rows, stored, block.skipped, self.job.stored)

    def finish(self, read: Progress) -> None:
        """Note how much the whole corpus is, once its end was read.

        Raises:
            ValueError: the file is another by now.
        """
        if hash_of(self.job.input.name) != self.job.input.sha256:
            raise ValueError(f"{self.job.input.name} was changed while it was read: begin again in another folder")
        shards = -(-read.rows // self.job.shard_size)
        write_job(self.folder, finished(self.job, shards, read.rows, read.skipped))


@contextmanager
def planned(job: Job, output: Path, part: tuple[int, int], resume: bool, tell: Callable[[str], None]) -> Iterator[Plan]:
    """Begin a job, or go on with it: what is left to do."""
    with begun(output, job, resume, part):
        index, count = part
        mine = [number for number in shard_numbers(output) if number % count == index - 1]
        done = frozenset(number for number in mine if read_shard(output, number, identity(job)))
        sweep(output, part)
        yield Plan(job, output, part, Wanted(index, count, done), tell)
