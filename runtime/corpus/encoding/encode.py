"""Encode a corpus: passages from a file of any size into a folder of shards, which a killed job goes on with.

Reading, tokenizing, computing and writing overlap, each on a thread of its own, with a block or two between them: the
memory it takes does not grow with the corpus. Each shard is written whole or not at all, and its bytes are a function
of the input, the model, the engine and its threads: a job that was killed and resumed, or was spread over machines,
gives the same folder as one that ran through.
"""

import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from dpr_export.models.artifact.resolve import open_exported_folder
from dpr_export.models.kinds import CONTEXT
from dpr_export.runtime.corpus.encoding.blocks import encoded, windows_of
from dpr_export.runtime.corpus.encoding.job import job_of
from dpr_export.runtime.corpus.encoding.on_ray import encode_on_ray
from dpr_export.runtime.corpus.encoding.pipeline import Ahead, Behind, Clock
from dpr_export.runtime.corpus.encoding.plan import STAGES, Encoded, Plan, Tell, Watch, planned
from dpr_export.runtime.corpus.encoding.shards import DTYPES, STORED
from dpr_export.runtime.corpus.optional_libraries import needed
from dpr_export.runtime.corpus.passages import ON_ERROR, Progress
from dpr_export.runtime.engines.processors import usable_processors
from dpr_export.runtime.inference.encoders import SEGMENTS, DPRContextEncoder

SHARD_SIZE = 8192
_RAY_THREADS = 4
_CHOICES = {"stored": STORED, "dtype": tuple(DTYPES), "segments": SEGMENTS, "on_error": ON_ERROR}


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
    watch: Watch = lambda _done, _expected: None,
) -> Encoded:
    """Encode the passages of a file into a folder of shards.

    Args:
        folder: the exported context encoder, or its name on the hub.
        file: the passages, as .tsv (id, text, title), .jsonl or .parquet, the first two as .gz too; - is standard
            input, which can neither be gone on with nor be shared out.
        output: the folder to write: see shards.py for what is in it.
        format: what the file is, where its name does not say.
        segments: as `DPRContextEncoder.encode` has it; "dpr" for indexes like the published ones.
        shard_size: how many passages a shard has: what a job that is killed loses at most.
        part: (i, n) computes every n-th shard from the i-th, counted from 1, as one of n machines.
        stored: "npy" or "parquet".
        dtype: "fp32" or "fp16", the numbers that are stored.
        on_error: what a row that is no passage does: "stop", or "skip", also of a job that is gone on with.
        resume: go on with a job that was interrupted.
        batch_tokens: how many tokens, padding included, one batch may have; None: as many as suit the engine.
        backend, precision, device, threads: as `from_pretrained` has them.
        ray: None computes here; else the address of a Ray cluster that does, "local" for one that is started here.
            `threads` is then what each worker computes with; None: 4, or all processors where there are fewer.
        workers: how many workers of the cluster hold the model, at most; None: as many as there are processors for.
        tell: is given a line that says what encodes, and one for each row that is left out.
        watch: is given how many more passages are done, and how many there will have been, if that can be told.

    Raises:
        OSError: a file cannot be read or written, or `output` is in use.
        ValueError: an argument; a row that is no passage; `output` holds another job; the file was changed meanwhile.
        ImportError: a library that this needs is not installed.
    """
    file = str(file)
    check_choices(stored=stored, dtype=dtype, segments=segments, on_error=on_error)
    _check_numbers(part, shard_size=shard_size, batch_tokens=batch_tokens, workers=workers)
    if workers is not None and ray is None:
        raise ValueError(f"workers is {workers}, and there are workers on Ray alone: give ray too (--ray local)")
    if file == "-" and (resume or part != (1, 1) or ray is not None):
        raise ValueError("standard input can be read once, by one: give a file to go on, to share out, or for Ray")
    for library, used in (("ray", ray is not None), ("pyarrow", stored == "parquet")):
        if used:
            needed(library)
    if (kind := open_exported_folder(folder).manifest.kind) != CONTEXT.name:
        raise ValueError(f"{folder} holds a {kind} model, and shards in a folder take a context encoder: {output}")
    cut = {"segments": segments, "shard_size": shard_size, "stored": stored, "dtype": dtype, "on_error": on_error}
    if ray is not None:
        threads = threads or min(_RAY_THREADS, usable_processors())
    how: dict[str, Any] = {"backend": backend, "precision": precision, "device": device, "threads": threads}
    with DPRContextEncoder.from_pretrained(folder, **how) as model:
        job = job_of(model, file, format, batch_tokens, **cut)
        made = job.encoder
        tell(f"{made.name}: {made.backend} {made.precision}, {made.dim} numbers a vector")
        if ray is None:
            with planned(job, Path(output), part, resume, tell) as plan:
                return _encode(model, plan, watch)
    with planned(job, Path(output), part, resume, tell) as plan:
        return encode_on_ray(plan, ray, workers, {"folder": folder, **how}, watch)


def _encode(model: DPRContextEncoder, plan: Plan, watch: Watch) -> Encoded:
    clock, read, behind = Clock(), Progress(), Behind()
    start = time.perf_counter()
    passages = shards = 0
    with (
        closing(behind),
        closing(Ahead(clock.timed("reading", plan.blocks(read)), 1)) as blocks,
        closing(Ahead(clock.timed("tokenizing", windows_of(model, blocks, plan.job.segments)), 2)) as windows,
    ):
        waited = clock.timed("waiting", windows)
        for block, vectors in encoded(
            model, waited, plan.job.batch_tokens, lambda n: watch(n, plan.estimated_total(read))
        ):
            write = partial(clock.call, "writing", partial(plan.write, block, vectors))
            clock.call("waiting", partial(behind.do, write))
            passages, shards = passages + len(block.rows), shards + 1
        clock.call("waiting", behind.wait)
    clock.call("waiting", partial(plan.finish, read))
    seconds = time.perf_counter() - start
    busy = {**dict.fromkeys(STAGES, 0.0), **clock.seconds, "computing": seconds - clock.seconds.pop("waiting", 0.0)}
    return Encoded(passages, read.skipped, shards, len(plan.wanted.done), seconds, {s: busy[s] for s in STAGES})


def check_choices(**given: str) -> None:
    """Refuse an option of `encode_corpus` that is none of what it may be.

    Raises:
        ValueError: it names the option, its value and what it may be.
    """
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
