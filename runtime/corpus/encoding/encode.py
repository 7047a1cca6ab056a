"""Encode a corpus: passages from a file of any size into a folder of shards, in a job that can be killed and resumed.

Reading, tokenizing, computing and writing overlap, with a block or two between them: the memory that a job takes grows
with the corpus by 8 bytes a passage only, for its id. A shard's bytes depend only on the input, the model, the engine
and its threads: a job that was killed and resumed, or spread over machines, gives the same folder as one that ran
through.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from dpr_export.models.artifact.resolve import open_exported_folder
from dpr_export.models.kinds import CONTEXT
from dpr_export.runtime.corpus.encoding.blocks import Block, EncodedBlocks, encode_windows, tokenize_blocks
from dpr_export.runtime.corpus.encoding.job import Job, describe_job
from dpr_export.runtime.corpus.encoding.job_part import STAGES, EncodingSummary, JobPart, Tell, Watch, open_job_part
from dpr_export.runtime.corpus.encoding.on_ray import compute_on_ray
from dpr_export.runtime.corpus.encoding.pipeline import Prefetch
from dpr_export.runtime.corpus.encoding.shards import DTYPES, STORED
from dpr_export.runtime.corpus.optional_libraries import import_library
from dpr_export.runtime.corpus.passages import ON_ERROR, Progress
from dpr_export.runtime.corpus.timing import timed, timed_items
from dpr_export.runtime.engines.processors import usable_processors
from dpr_export.runtime.inference.encoders import SEGMENTS, DPRContextEncoder, Vectors

SHARD_SIZE = 8192
_RAY_THREADS = 4
_CHOICES = {"stored": STORED, "dtype": tuple(DTYPES), "segments": SEGMENTS, "on_error": ON_ERROR}
Compute = Callable[[Job, Iterator[Block], dict[str, float], Callable[[int], None]], EncodedBlocks]


def encode_corpus(
    folder: str | Path,
    file: str | Path,
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
    ray: str | None = None,
    workers: int | None = None,
    tell: Tell = lambda _: None,
    watch: Watch = lambda _done, _total: None,
) -> EncodingSummary:
    """Encode the passages of a file into a folder of shards.

    Args:
        folder: the exported context encoder, or its name on the hub.
        file: the passages, as `read_corpus` reads them; "-" is standard input, which can be neither resumed nor shared.
        output: the folder to write: shards.py describes what is in it.
        format: the format of `file`, if its name does not say it.
        segments: as in `DPRContextEncoder.encode`; "dpr" for indexes like the published ones.
        shard_size: how many passages a shard has: a job that is killed loses at most these.
        part: (i, n) computes every n-th shard from the i-th, counted from 1, as one of n machines.
        stored: the format of the shards, "npy" or "parquet".
        dtype: the type of the stored numbers, "fp32" or "fp16".
        on_error: how to handle malformed rows: "stop", or "skip" (a resumed job may change it).
        resume: go on with a job that was interrupted.
        batch_tokens: how many tokens, padding included, a batch may have; None: as many as suit the engine.
        backend, precision, device, threads: as in `from_pretrained`.
        ray: the address of a Ray cluster to compute on, or "local" to start one on this machine; None computes in this
            process. With Ray, `threads` is for each worker; None: 4, or all processors if there are fewer.
        workers: the largest number of Ray workers; None: as many as there are processors for.
        tell: is called with a line of text about the model, and one for each row that is skipped.
        watch: is called with the number of passages that were encoded since the last call, and an estimate of the
            total (None if it is not known).

    Raises:
        OSError: a file cannot be read or written, or `output` is in use.
        ValueError: an argument is wrong, a row is malformed, `output` holds another job, or `file` changed meanwhile.
        ImportError: a library that this needs is not installed.
    """
    file = str(file)
    check_choices(stored=stored, dtype=dtype, segments=segments, on_error=on_error)
    _check_numbers(part, shard_size=shard_size, batch_tokens=batch_tokens, workers=workers)
    if workers is not None and ray is None:
        raise ValueError(f"workers is {workers}, but only Ray has workers: give ray too (--ray local)")
    if file == "-" and (resume or part != (1, 1) or ray is not None):
        raise ValueError("standard input can be read only once: to resume or share a job, or for Ray, give a file")
    for library, used in (("ray", ray is not None), ("pyarrow", stored == "parquet")):
        if used:
            import_library(library)
    if (kind := open_exported_folder(folder).manifest.kind) != CONTEXT.name:
        raise ValueError(f"{folder} holds a {kind} model, and {output} is a folder: only a context encoder writes one")
    cut = {"segments": segments, "shard_size": shard_size, "stored": stored, "dtype": dtype, "on_error": on_error}
    if ray is not None:
        threads = threads or min(_RAY_THREADS, usable_processors())
    how: dict[str, Any] = {"backend": backend, "precision": precision, "device": device, "threads": threads}
    with DPRContextEncoder.from_pretrained(folder, **how) as model:
        job = describe_job(model, file, format, batch_tokens, **cut)
        encoder = job.encoder
        tell(f"{encoder.name}: {encoder.backend} {encoder.precision}, vectors of dimension {encoder.dim}")
        if ray is None:
            with open_job_part(job, Path(output), part, resume, tell) as job_part:
                return _encode(job_part, partial(_compute_here, model), watch)
    with open_job_part(job, Path(output), part, resume, tell) as job_part:
        return _encode(job_part, partial(compute_on_ray, ray, workers, {"folder": folder, **how}), watch)


def _encode(part: JobPart, compute: Compute, watch: Watch) -> EncodingSummary:
    """Read, compute and write the blocks of a part of a job, each stage on a thread of its own."""
    seconds, progress = dict.fromkeys(STAGES, 0.0), Progress()
    passages, start = 0, time.perf_counter()

    def write(block: Block, vectors: Vectors) -> None:
        with timed(seconds, "writing"):
            part.write(block, vectors)

    with (
        ThreadPoolExecutor(1, thread_name_prefix="dpr-export-write") as writer,
        closing(Prefetch(timed_items(seconds, "reading", part.read_blocks(progress)), 1)) as blocks,
        closing(
            compute(part.job, blocks, seconds, lambda done: watch(done, part.estimate_total(progress)))
        ) as computed,
    ):
        last: Future[None] | None = None
        for block, vectors in computed:
            if last:
                last.result()
            last = writer.submit(write, block, vectors)
            passages += len(block.passages)
        if last:
            last.result()
        part.finish(progress)
    total = time.perf_counter() - start
    return EncodingSummary(passages, progress.skipped, len(part.written), len(part.existing), total, seconds)


def _compute_here(
    model: DPRContextEncoder, job: Job, blocks: Iterator[Block], seconds: dict[str, float], watch: Callable[[int], None]
) -> EncodedBlocks:
    """Yield blocks with their vectors; the next ones are tokenized meanwhile."""
    start = time.perf_counter()
    tokenized = timed_items(seconds, "tokenizing", tokenize_blocks(model, blocks, job.segments))
    with closing(Prefetch(tokenized, 2)) as windows:
        for computed in encode_windows(model, timed_items(seconds, "waiting", windows), job.batch_tokens, watch):
            with timed(seconds, "waiting"):  # until it is written
                yield computed
    seconds["computing"] = time.perf_counter() - start - seconds.pop("waiting")


def check_choices(**given: str) -> None:
    """Check that options of `encode_corpus` have allowed values."""
    for name, value in given.items():
        if value not in _CHOICES[name]:
            raise ValueError(f"{name} is {value!r}, and must be one of: {', '.join(_CHOICES[name])}")


def _check_numbers(part: tuple[int, int], **given: int | None) -> None:
    for name, number in given.items():
        if number is not None and number < 1:
            raise ValueError(f"{name} is {number}, and must be at least 1")
    index, count = part
    if not 1 <= index <= count:
        raise ValueError(f"part is {index}/{count}, and must be from 1/{count} to {count}/{count}")
