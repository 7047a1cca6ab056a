"""Build a FAISS index of an encoded corpus. FAISS holds all vectors in memory meanwhile."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.artifact.atomic_writing import atomic_folder
from dpr_export.models.artifact.records import record_to_json
from dpr_export.runtime.corpus.encoding.job import CORPUS_FILE, Job, identify_job, read_job
from dpr_export.runtime.corpus.encoding.shards import (
    Shard,
    check_shard,
    read_shard,
    shard_passages,
    shard_vectors,
    to_json_line,
)
from dpr_export.runtime.corpus.optional_libraries import import_library
from dpr_export.runtime.corpus.passages import Passage
from dpr_export.runtime.corpus.retrieval.index import (
    FAISS_FILE,
    INDEX_FILE,
    OFFSETS_FILE,
    PASSAGES_FILE,
    IndexRecord,
    explain_faiss_errors,
)
from dpr_export.runtime.corpus.retrieval.similarity import to_inner_product

_TRAINING = 1 << 18  # the most vectors that an index is trained on
_NO_FACTORY = re.compile(r"(?<!\d)0+(?!\d)|HNSW1(?!\d)")  # numbers that make FAISS, and Python with it, crash


def build_index(corpus: str | Path, output: str | Path | None = None, *, factory: str = "Flat") -> IndexRecord:
    """Build the index of an encoded corpus.

    Args:
        corpus: the folder of shards, which must be complete.
        output: the folder to write; None: `index` within the corpus.
        factory: the argument of FAISS's index_factory: "Flat" is exact; "IVF4096,Flat", "HNSW32", "SQfp16" and others
            trade exactness for time or memory.

    Raises:
        OSError: there is no corpus, or `output` exists or cannot be written.
        ValueError: shards are missing or damaged, or FAISS refuses the factory.
        ImportError: FAISS is not installed.
    """
    faiss = import_library("faiss")
    corpus = Path(corpus)
    job = read_job(corpus)
    shards = _read_shards(corpus, job)
    if found := _NO_FACTORY.search(factory):
        raise ValueError(f"factory is {factory!r}, and FAISS cannot build {found.group()!r}")
    output = corpus / "index" if output is None else Path(output)
    if output.exists() or output.is_symlink():
        raise FileExistsError(f"output {output} exists: give another, or remove it")
    total = job.passages or 0
    if not total:
        raise ValueError(f"{corpus} has no passages")
    with atomic_folder(output) as making:
        for number, shard in enumerate(shards):
            check_shard(corpus, number, shard, min(job.shard_size, total - number * job.shard_size), job.stored)
        with explain_faiss_errors(f"FAISS refused factory {factory!r} for {total:,} passages"):
            index = faiss.index_factory(job.encoder.dim, factory, faiss.METRIC_INNER_PRODUCT)
            if not index.is_trained:
                index.train(to_inner_product(_sample_vectors(corpus, job.stored, shards), job.encoder.similarity))
            for number in range(len(shards)):
                index.add(to_inner_product(shard_vectors(corpus, number, job.stored), job.encoder.similarity))
        passages = (each for n in range(len(shards)) for each in shard_passages(corpus, n, job.stored))
        _write_passages(making, passages, total)
        faiss.write_index(index, str(making / FAISS_FILE))
        record = IndexRecord(job.encoder, job.segments, factory, total)
        (making / INDEX_FILE).write_text(record_to_json(record), encoding="utf-8")
    return record


def _read_shards(corpus: Path, job: Job) -> list[Shard]:
    """Read the records of all shards."""
    if job.shards is None:
        raise ValueError(f"{corpus} is not complete: resume it (dpr-runtime encode ... --resume)")
    if job.passages is None or job.shards != -(-job.passages // job.shard_size):
        raise ValueError(f"{corpus / CORPUS_FILE} is damaged: {job.passages} passages are not {job.shards} shards")
    job_id = identify_job(job)
    shards = [read_shard(corpus, number, job_id) for number in range(job.shards)]
    if missing := [str(number) for number, shard in enumerate(shards) if shard is None]:
        some = ", ".join(missing[:5]) + (", …" if missing[5:] else "")
        raise ValueError(
            f"{corpus} lacks {len(missing)} of its {job.shards} shards ({some}), or they belong to another job: "
            "resume it (dpr-runtime encode ... --resume), or copy the shards here"
        )
    return [shard for shard in shards if shard]


def _sample_vectors(corpus: Path, stored: str, shards: Sequence[Shard]) -> NDArray[np.float32]:
    """Vectors to train the index on: every n-th of the whole corpus."""
    step = -(-sum(shard.rows for shard in shards) // _TRAINING)
    parts, start = [], 0
    for number, shard in enumerate(shards):
        parts.append(np.asarray(shard_vectors(corpus, number, stored)[start::step], np.float32))
        start = (start - shard.rows) % step
    return np.concatenate(parts)


def _write_passages(folder: Path, passages: Iterator[Passage], total: int) -> None:
    offsets = np.zeros(total + 1, np.int64)
    with (folder / PASSAGES_FILE).open("wb") as file:
        for number, passage in enumerate(passages, start=1):
            file.write(to_json_line(passage).encode())
            offsets[number] = file.tell()
    np.save(folder / OFFSETS_FILE, offsets, allow_pickle=False)
