"""What is left to do of a job, by whoever does it: which blocks, where their shards are written, what it came to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dpr_export.runtime.corpus.encoding.begin import begun
from dpr_export.runtime.corpus.encoding.blocks import Block, Wanted, blocks_of
from dpr_export.runtime.corpus.encoding.job import Job, finished, hash_of, identity, write_job
from dpr_export.runtime.corpus.encoding.shards import (
    DTYPES,
    read_shard,
    remove_shard,
    shard_numbers,
    sweep,
    write_shard,
)
from dpr_export.runtime.corpus.passages import Progress, read_corpus
from dpr_export.runtime.inference.encoders import Vectors

STAGES = ("reading", "tokenizing", "computing", "writing")
Tell = Callable[[str], None]
Watch = Callable[[int, int | None], None]


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
    """A job, and the part of it that this process does.

    Attributes:
        job: the job.
        folder: where its shards are written.
        wanted: which of them.
        tell: is given a line for each row that is left out.
        written: the numbers of those that were written.
    """

    job: Job
    folder: Path
    wanted: Wanted
    tell: Tell
    written: list[int] = field(default_factory=list)

    def blocks(self, read: Progress) -> Iterator[Block]:
        """The blocks that are to be computed."""
        source = self.job.input
        rows = read_corpus(source.name, source.format, on_error=self.job.on_error, tell=self.tell, progress=read)
        return blocks_of(rows, self.job.shard_size, self.wanted, read)

    def write(self, block: Block, vectors: Vectors) -> None:
        """Write a block's shard.

        Raises:
            ValueError: a number is not finite, or not in the type that is stored.
        """
        with np.errstate(over="ignore"):
            stored = vectors.astype(DTYPES[self.job.dtype])
        if not np.isfinite(stored).all():
            mend = "store fp32 (--dtype)" if np.isfinite(vectors).all() else "verify the model (dpr-runtime verify)"
            raise ValueError(f"a vector of shard {block.number} is not finite in {self.job.dtype}: {mend}")
        write_shard(self.folder, block.number, identity(self.job), block.rows, stored, block.skipped, self.job.stored)
        self.written.append(block.number)

    def estimated_total(self, read: Progress) -> int | None:
        """How many passages this part will have given, as far as one can tell."""
        if (total := read.estimated_total) is None:
            return None
        blocks = range(self.wanted.index - 1, -(-total // self.job.shard_size), self.wanted.count)
        return min(total, (len(blocks) - len(self.wanted.done)) * self.job.shard_size)

    def finish(self, read: Progress) -> None:
        """Note how much the whole corpus is, once its end was read.

        Raises:
            ValueError: the file is another by now.
        """
        if hash_of(self.job.input.name) != self.job.input.sha256:
            for number in self.written:
                remove_shard(self.folder, number)
            raise ValueError(f"{self.job.input.name} was changed while it was read: what was made of it is removed")
        shards = -(-read.passages // self.job.shard_size)
        write_job(self.folder, finished(self.job, shards, read.passages, read.skipped))


@contextmanager
def planned(job: Job, output: Path, part: tuple[int, int], resume: bool, tell: Callable[[str], None]) -> Iterator[Plan]:
    """Begin a job, or go on with it: what is left to do."""
    with begun(output, job, resume, part):
        (index, count), job_id = part, identity(job)
        mine = [number for number in shard_numbers(output) if number % count == index - 1]
        done = frozenset(number for number in mine if read_shard(output, number, job_id))
        sweep(output, part)
        yield Plan(job, output, Wanted(index, count, done), tell)
