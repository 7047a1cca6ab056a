"""Encode a corpus: passages from a file of any size into a folder of shards, which a killed job goes on with.

Reading, tokenizing, computing and writing overlap, each on a thread of its own, with a block or two between them: the
memory it takes does not grow with the corpus. Each shard is written whole or not at all, and its bytes are a function
of the input, the model and the engine alone: a job that was killed and resumed, or was spread over machines, gives the
same folder as one that ran through.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dpr_export.models.kinds import CONTEXT
from dpr_export.models.pretrained import exported_folder
from dpr_export.runtime.corpus.blocks import Block, Wanted, blocks_of, encoded, windows_of
from dpr_export.runtime.corpus.job import Job, begun, finished, job_of, write_job
from dpr_export.runtime.corpus.pipeline import Behind, Clock, ahead
from dpr_export.runtime.corpus.read import ON_ERROR, Progress, read_corpus
from dpr_export.runtime.corpus.shards import DTYPES, STORED, Vectors, read_shard, shard_numbers, sweep, write_shard
from dpr_export.runtime.encoders import SEGMENTS, DPRContextEncoder

SHARD_SIZE = 8192
STAGES = ("reading", "tokenizing", "computing", "writing")


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
    tell: Callable[[str], None]

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
        write_shard(self.folder, block.number, block.rows, stored, block.skipped, self.job.stored)

    def finish(self, read: Progress) -> None:
        """Note how much the whole corpus is, once its end was read."""
        shards = -(-read.rows // self.job.shard_size)
        write_job(self.folder, finished(self.job, shards, read.rows, read.skipped))


def encode_corpus(
    folder: str | Path,
    file: str,
    output: str | Path,
    *,
    format: str = "auto",
    segments: str = "hf",
    shard_size: int = SHARD_SIZE,
    part: tuple[int, int] = (1, 1),
    stored: str = "npy",
    dtype: str = "fp32",
    on_error: str = "stop",
    resume: bool = False,
    batch_tokens: int | None = None,
    backend: str = "auto",
    precision: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
    watch: Callable[[int, Progress], None] = lambda _done, _read: None,
) -> Encoded:
    """Encode the passages of a file into a folder of shards.

    Args:
        folder: the exported context encoder, or its name on the hub.
        file: the passages, as .tsv (id, text, title), .jsonl or .parquet, the first two as .gz too; - is standard
            input.
        output: the folder to write: see shards.py for what is in it.
        format: what the file is, where its name does not say.
        segments: as `DPRContextEncoder.encode` has it; "dpr" for indexes like the published ones.
        shard_size: how many passages a shard has: what a job that is killed loses at most.
        part: (i, n) computes every n-th shard from the i-th, counted from 1, as one of n machines.
        stored: "npy" or "parquet".
        dtype: "fp32" or "fp16", the numbers that are stored.
        on_error: what a row that is no passage does: "stop", or "skip".
        resume: go on with a job that was interrupted.
        batch_tokens: how many tokens, padding included, one batch may have; None: as many as suit the engine.
        backend, precision, device, threads: as `from_pretrained` has them.
        tell: is given a line for each row that is left out.
        watch: is given how many more passages are done, and how far the file was read, every now and then.

    Raises:
        OSError: a file cannot be read or written, or `output` is in use.
        ValueError: an argument; a row that is no passage; or `output` holds another job.
    """
    _check(shard_size, part, stored, dtype, segments, on_error, resume, file)
    if (kind := exported_folder(folder).manifest.kind) != CONTEXT.name:
        raise ValueError(f"{folder} holds a {kind} model, and shards in a folder take a context encoder: {output}")
    cut = {"segments": segments, "shard_size": shard_size, "stored": stored, "dtype": dtype, "on_error": on_error}
    how = {"backend": backend, "precision": precision, "device": device}
    with DPRContextEncoder.from_pretrained(folder, threads=threads, **how) as model:
        job = job_of(model, file, format, batch_tokens, **cut)
        with planned(job, Path(output), part, resume, tell) as plan:
            return _encode(model, plan, watch)


@contextmanager
def planned(job: Job, output: Path, part: tuple[int, int], resume: bool, tell: Callable[[str], None]) -> Iterator[Plan]:
    """Begin a job, or go on with it: what is left to do."""
    with begun(output, job, resume, part):
        index, count = part
        mine = [number for number in shard_numbers(output) if number % count == index - 1]
        done = frozenset(number for number in mine if read_shard(output, number))
        sweep(output, part)
        yield Plan(job, output, part, Wanted(index, count, done), tell)


def _encode(model: DPRContextEncoder, plan: Plan, watch: Callable[[int, Progress], None]) -> Encoded:
    clock, read, behind = Clock(), Progress(), Behind()
    start = time.perf_counter()
    passages = shards = 0
    with (
        closing(behind),
        closing(ahead(clock.timed("reading", plan.blocks(read)), 1)) as blocks,
        closing(ahead(clock.timed("tokenizing", windows_of(model, blocks, plan.job.segments)), 2)) as windows,
    ):
        waited = clock.timed("waiting", windows)
        for block, vectors in encoded(model, waited, plan.job.batch_tokens, lambda done: watch(done, read)):
            behind.do(partial(clock.call, "writing", partial(plan.write, block, vectors)))
            passages, shards = passages + len(block.rows), shards + 1
        behind.wait()
    plan.finish(read)
    seconds = time.perf_counter() - start
    busy = {**dict.fromkeys(STAGES, 0.0), **clock.seconds, "computing": seconds - clock.seconds.pop("waiting", 0.0)}
    return Encoded(passages, read.skipped, shards, len(plan.wanted.done), seconds, {s: busy[s] for s in STAGES})


def _check(
    shard_size: int,
    part: tuple[int, int],
    stored: str,
    dtype: str,
    segments: str,
    on_error: str,
    resume: bool,
    file: str,
) -> None:
    for name, value, allowed in (
        ("stored", stored, STORED),
        ("dtype", dtype, tuple(DTYPES)),
        ("segments", segments, SEGMENTS),
        ("on_error", on_error, ON_ERROR),
    ):
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}, and must be one of: {', '.join(allowed)}")
    if shard_size < 1:
        raise ValueError(f"shard_size is {shard_size}, and must be at least 1")
    index, count = part
    if not 1 <= index <= count:
        raise ValueError(f"part is {index}/{count}, and must be from 1/{count} to {count}/{count}")
    if resume and file == "-":
        raise ValueError("standard input cannot be gone on with: give a file")
