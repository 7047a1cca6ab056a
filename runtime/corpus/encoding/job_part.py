"""The part of a job that one process does: which blocks it computes, where it writes them, and what it reports."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path

import numpy as np

from dpr_export.runtime.corpus.encoding.blocks import Block
from dpr_export.runtime.corpus.encoding.job import Job, hash_input, identify_job, write_job
from dpr_export.runtime.corpus.encoding.job_folder import hold_job_folder
from dpr_export.runtime.corpus.encoding.shards import (
    DTYPES,
    read_shard,
    remove_half_written,
    remove_shard,
    shard_numbers,
    write_shard,
)
from dpr_export.runtime.corpus.passages import Progress, read_corpus
from dpr_export.runtime.inference.encoders import Vectors

STAGES = ("reading", "tokenizing", "computing", "writing")
Tell = Callable[[str], None]
Watch = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class EncodingSummary:
    """What a run of `encode_corpus` did.

    Attributes:
        passages: how many passages it encoded.
        skipped: how many malformed rows it skipped.
        shards: how many shards it wrote.
        existing: how many of its shards existed before.
        seconds: how long it took, without loading the model.
        stage_seconds: how long each of STAGES was at work; they overlap.
    """

    passages: int
    skipped: int
    shards: int
    existing: int
    seconds: float
    stage_seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class JobPart:
    """A part of a job: every `count`-th shard from the `index`-th, counted from 1."""

    job: Job
    folder: Path
    index: int
    count: int
    existing: frozenset[int]  # the numbers of its shards that exist already
    tell: Tell  # is called with a line of text for each row that is skipped
    written: list[int] = field(default_factory=list)  # the numbers of the shards that this run wrote

    def read_blocks(self, progress: Progress) -> Iterator[Block]:
        """Read the blocks that are still to be computed."""
        source, on_error = self.job.input, self.job.on_error
        passages = read_corpus(source.name, source.format, on_error=on_error, tell=self.tell, progress=progress)
        for number in count():
            block = list(islice(passages, self.job.shard_size))
            if not block:
                return
            if number % self.count == self.index - 1 and number not in self.existing:
                yield Block(number, block, progress.skipped)

    def write(self, block: Block, vectors: Vectors) -> None:
        """Write a block's shard, if all its numbers are finite in the type that is stored."""
        with np.errstate(over="ignore"):
            stored = vectors.astype(DTYPES[self.job.dtype])
        if not np.isfinite(stored).all():
            mend = "store fp32 (--dtype)" if np.isfinite(vectors).all() else "verify the model (dpr-runtime verify)"
            raise ValueError(f"a vector of shard {block.number} is not finite in {self.job.dtype}: {mend}")
        job_id = identify_job(self.job)
        write_shard(self.folder, block.number, job_id, block.passages, stored, block.skipped, self.job.stored)
        self.written.append(block.number)

    def estimate_total(self, progress: Progress) -> int | None:
        """Estimate how many passages this run will encode; None if the file's size is not known."""
        if (total := progress.estimated_total) is None:
            return None
        shards = range(self.index - 1, -(-total // self.job.shard_size), self.count)
        return min(total, (len(shards) - len(self.existing)) * self.job.shard_size)

    def finish(self, progress: Progress) -> None:
        """Record the size of the whole corpus, once its end was read, if the input is still the same."""
        if hash_input(self.job.input.name) != self.job.input.sha256:
            for number in self.written:
                remove_shard(self.folder, number)
            raise ValueError(f"{self.job.input.name} changed while it was read: the shards of this run are removed")
        shards = -(-progress.passages // self.job.shard_size)
        write_job(self.folder, replace(self.job, shards=shards, passages=progress.passages, skipped=progress.skipped))


@contextmanager
def open_job_part(job: Job, output: Path, part: tuple[int, int], resume: bool, tell: Tell) -> Iterator[JobPart]:
    """Start or resume a part of a job, as `hold_job_folder` does, and find out what is left to do."""
    with hold_job_folder(output, job, resume, part):
        (index, count), job_id = part, identify_job(job)
        mine = [number for number in shard_numbers(output) if number % count == index - 1]
        existing = frozenset(number for number in mine if read_shard(output, number, job_id))
        remove_half_written(output, part)
        yield JobPart(job, output, index, count, existing, tell)
