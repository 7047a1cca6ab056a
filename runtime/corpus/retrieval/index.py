"""An index over an encoded corpus, with its passages: what is searched, without the shards it was made of.

    index.json       the encoder whose vectors these are, FAISS's factory string, how many there are
    vectors.faiss    FAISS's index, of inner products, mapped into memory when it is opened
    passages.jsonl   the passages, in the order of the vectors
    offsets.npy      where each passage's line begins: int64 (n + 1,)

FAISS holds the vectors in memory while the index is built; when it is searched, only what is looked at is read.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.artifact.atomic_writing import atomic_folder
from dpr_export.models.artifact.records import record_from_json, record_to_json
from dpr_export.runtime.corpus.encoding.job import CORPUS_FILE, Encoder, Job, identity, read_job
from dpr_export.runtime.corpus.encoding.shards import Shard, as_json, check_shard, read_shard, shard_rows, shard_vectors
from dpr_export.runtime.corpus.optional_libraries import needed
from dpr_export.runtime.corpus.passages import Passage

INDEX_FILE, FAISS_FILE, PASSAGES_FILE, OFFSETS_FILE = "index.json", "vectors.faiss", "passages.jsonl", "offsets.npy"
SCHEMA = 1
_TRAINING = 1 << 18  # vectors that a factory that learns is given at the most
_NUMBER, _LARGEST = re.compile(r"\d+(\.\d+)?"), (1 << 31) - 1
_NO_FACTORY = re.compile(r"(?<!\d)0+(?!\d)|HNSW1(?!\d)")  # numbers that end FAISS, and Python with it


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """What `index.json` holds.

    Attributes:
        encoder: what the vectors were made with.
        segments: the token types of the passages, as `DPRContextEncoder.encode` has them.
        factory: FAISS's factory string.
        passages: how many there are.
        schema: the version of this layout.
    """

    encoder: Encoder
    segments: str
    factory: str
    passages: int
    schema: int = SCHEMA


def build_index(corpus: str | Path, output: str | Path | None = None, *, factory: str = "Flat") -> IndexRecord:
    """Build the index of an encoded corpus.

    Args:
        corpus: the folder of shards, which must be whole.
        output: the folder to write; None: `index` within the corpus.
        factory: what FAISS's index_factory makes: "Flat" is exact; "IVF4096,Flat", "HNSW32", "SQfp16" and others trade
            exactness for time or memory.

    Raises:
        OSError: there is no corpus, or `output` exists or cannot be written.
        ValueError: shards are missing or damaged, or FAISS does not take the factory.
        ImportError: FAISS is not installed.
    """
    faiss = needed("faiss")
    corpus = Path(corpus)
    job = read_job(corpus)
    shards = _shards(corpus, job)
    if found := _NO_FACTORY.search(factory):
        raise ValueError(f"factory is {factory!r}, and FAISS makes no index of {found.group()!r}")
    output = corpus / "index" if output is None else Path(output)
    if output.exists() or output.is_symlink():
        raise FileExistsError(f"output {output} exists: give another, or remove it")
    numbers, total = range(len(shards)), job.passages or 0
    if not total:
        raise ValueError(f"{corpus} has no passages")
    with atomic_folder(output) as making:
        for number, shard in enumerate(shards):
            rows = min(job.shard_size, total - number * job.shard_size)
            check_shard(corpus, number, shard, rows, job.stored)
        try:
            index = faiss.index_factory(job.encoder.dim, factory, faiss.METRIC_INNER_PRODUCT)
            if not index.is_trained:
                index.train(_sample(corpus, job.stored, shards))
            for number in numbers:
                index.add(np.ascontiguousarray(shard_vectors(corpus, number, job.stored), np.float32))
        except RuntimeError as error:
            raise ValueError(f"FAISS refused factory {factory!r} for {total:,} passages: {_words(error)}") from None
        _write_passages(making, (row for n in numbers for row in shard_rows(corpus, n, job.stored)), total)
        faiss.write_index(index, str(making / FAISS_FILE))
        record = IndexRecord(job.encoder, job.segments, factory, total)
        (making / INDEX_FILE).write_text(record_to_json(record), encoding="utf-8")
    return record


class PassageIndex:
    """An index that is open; many threads may use it at once.

        with PassageIndex.open("corpus/index") as index:
            scores, positions = index.search(vectors, top_k=20)

    Attributes:
        record: what it is.
    """

    def __init__(self, record: IndexRecord, index: Any, folder: Path) -> None:
        self.record = record
        self._index = index
        self._offsets: NDArray[np.int64] = np.load(folder / OFFSETS_FILE, mmap_mode="r", allow_pickle=False)
        with (folder / PASSAGES_FILE).open("rb") as file:
            self._passages = mmap(file.fileno(), 0, access=ACCESS_READ)
        offsets = self._offsets
        if (offsets.shape, offsets.dtype) != ((record.passages + 1,), np.int64) or offsets[-1] != len(self._passages):
            self.close()
            raise ValueError(f"{OFFSETS_FILE} does not fit {PASSAGES_FILE}")

    @classmethod
    def open(cls, folder: str | Path, parameters: str = "") -> Self:
        """Open an index.

        Args:
            folder: what `build_index` wrote.
            parameters: how FAISS searches, as its ParameterSpace takes it: "nprobe=16", "efSearch=64".

        Raises:
            OSError: there is no index.
            ValueError: it is damaged, or the parameters are not this index's.
            ImportError: FAISS is not installed.
        """
        faiss = needed("faiss")
        folder = Path(folder)
        record = _record(folder)
        try:
            index = faiss.read_index(str(folder / FAISS_FILE), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise ValueError(f"{folder / FAISS_FILE} is damaged: {_words(error)}") from None
        if (index.ntotal, index.d) != (record.passages, record.encoder.dim):
            raise ValueError(
                f"{folder} is damaged: {FAISS_FILE} has {index.ntotal:,} vectors of {index.d} numbers, and "
                f"{INDEX_FILE} says {record.passages:,} of {record.encoder.dim}"
            )
        if parameters:
            _check_parameters(parameters)
            try:
                faiss.ParameterSpace().set_index_parameters(index, parameters)
            except RuntimeError as error:
                raise ValueError(f"parameters are {parameters!r}, and FAISS refused them: {_words(error)}") from None
        try:
            return cls(record, index, folder)
        except (OSError, ValueError, IndexError, EOFError) as error:
            raise ValueError(f"{folder} is damaged: {error}") from None

    def search(self, vectors: NDArray[np.float32], top_k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The passages whose vectors have the largest inner products with each of these.

        Args:
            vectors: float32 (n, dim).
            top_k: how many to find for each.

        Returns:
            Scores, float32 (n, k), falling, and positions, int64 (n, k); k is `top_k`, or all passages if that is
            less. A position is -1 where an index that is not exact found too few.

        Raises:
            ValueError: vectors of another width; `top_k` is below 1.
            RuntimeError: the index is closed.
        """
        self._check_open()
        if vectors.ndim != 2 or vectors.shape[1] != self.record.encoder.dim:
            raise ValueError(f"vectors has shape {vectors.shape}, and must be (n, {self.record.encoder.dim})")
        if top_k < 1:
            raise ValueError(f"top_k is {top_k}, and must be at least 1")
        found: tuple[NDArray[np.float32], NDArray[np.int64]] = self._index.search(
            np.ascontiguousarray(vectors, np.float32), min(top_k, self.record.passages)
        )
        return found

    def passages(self, positions: Sequence[int]) -> list[Passage]:
        """The passages at some positions, as `search` gives them.

        Raises:
            IndexError: there is no such position.
            ValueError: the passage is damaged.
            RuntimeError: the index is closed.
        """
        self._check_open()
        return [self._passage(int(position)) for position in positions]

    def _passage(self, position: int) -> Passage:
        if not 0 <= position < self.record.passages:
            raise IndexError(f"positions has {position}, and must be from 0 to {self.record.passages - 1}")
        start, end = (int(offset) for offset in self._offsets[position : position + 2])
        try:
            return Passage(**json.loads(self._passages[start:end]))
        except (ValueError, TypeError) as error:
            raise ValueError(f"passage {position} of the index is damaged: {error}") from None

    def _check_open(self) -> None:
        if self._passages.closed:
            raise RuntimeError("this index is closed")

    def close(self) -> None:
        """Close its files."""
        self._passages.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_parameters(parameters: str) -> None:
    """Refuse what FAISS would take for another number, or see only while it searches."""
    for each in parameters.split(","):
        name, _, value = each.partition("=")
        if not (name.strip().isidentifier() and _NUMBER.fullmatch(value) and 0 < float(value) <= _LARGEST):
            raise ValueError(f"parameters has {each!r}, and must be name=number, above 0 and up to {_LARGEST}")


def _record(folder: Path) -> IndexRecord:
    try:
        text = (folder / INDEX_FILE).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        if (folder / "index" / INDEX_FILE).is_file():
            raise OSError(f"{folder} is an encoded corpus; its index is {folder / 'index'}") from None
        raise OSError(
            f"{folder} is no index: it has no {INDEX_FILE}. This command makes one: dpr-runtime index CORPUS"
        ) from None
    return record_from_json(IndexRecord, text, str(folder / INDEX_FILE), SCHEMA)


def _shards(corpus: Path, job: Job) -> list[Shard]:
    """The records of all shards.

    Raises:
        ValueError: shards are missing.
    """
    if job.shards is None:
        raise ValueError(f"{corpus} is not whole: go on with it (dpr-runtime encode ... --resume)")
    if job.passages is None or job.shards != -(-job.passages // job.shard_size):
        raise ValueError(f"{corpus / CORPUS_FILE} is damaged: {job.passages} passages are not {job.shards} shards")
    job_id = identity(job)
    shards = [read_shard(corpus, number, job_id) for number in range(job.shards)]
    if lost := [str(number) for number, shard in enumerate(shards) if shard is None]:
        some = ", ".join(lost[:5]) + (", …" if lost[5:] else "")
        raise ValueError(
            f"{corpus} lacks {len(lost)} of its {job.shards} shards ({some}), or they are of another model, input or "
            "cut: go on with it (dpr-runtime encode ... --resume), or copy them here"
        )
    return [shard for shard in shards if shard]


def _sample(corpus: Path, stored: str, shards: Sequence[Shard]) -> NDArray[np.float32]:
    """Vectors to learn from: every n-th of the whole corpus."""
    step = -(-sum(shard.rows for shard in shards) // _TRAINING)
    parts, start = [], 0
    for number, shard in enumerate(shards):
        parts.append(np.asarray(shard_vectors(corpus, number, stored)[start::step], np.float32))
        start = (start - shard.rows) % step
    return np.concatenate(parts)


def _write_passages(folder: Path, rows: Iterator[Passage], total: int) -> None:
    offsets = np.zeros(total + 1, np.int64)
    with (folder / PASSAGES_FILE).open("wb") as file:
        for place, row in enumerate(rows, start=1):
            file.write(as_json(row).encode())
            offsets[place] = file.tell()
    np.save(folder / OFFSETS_FILE, offsets, allow_pickle=False)


def _words(error: RuntimeError) -> str:
    """What FAISS says, without the place in its code."""
    return " ".join(str(error).split()).rpartition(".cpp:")[2].lstrip("0123456789: ") or str(error)
