"""Search a FAISS index of an encoded corpus. It has the passages too, so that it works without the shards.

    index.json       the encoder that made the vectors, FAISS's factory string, the number of passages
    vectors.faiss    FAISS's index, of inner products (for cosines, of unit vectors), mapped into memory when opened
    passages.jsonl   the passages, in the order of the vectors
    offsets.npy      where each passage's line begins: int64 (n + 1,)

A search reads only the parts of the files that it needs.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.artifact.records import record_from_json
from dpr_export.runtime.corpus.encoding.job import Encoder
from dpr_export.runtime.corpus.optional_libraries import import_library
from dpr_export.runtime.corpus.passages import Passage
from dpr_export.runtime.corpus.retrieval.similarity import to_inner_product

INDEX_FILE, FAISS_FILE, PASSAGES_FILE, OFFSETS_FILE = "index.json", "vectors.faiss", "passages.jsonl", "offsets.npy"
SCHEMA = 1
_NUMBER, _LARGEST = re.compile(r"\d+(\.\d+)?"), (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """The record that `index.json` holds.

    Attributes:
        encoder: the context encoder that made the vectors.
        segments: the token types of the passages, as in `DPRContextEncoder.encode`.
        factory: FAISS's factory string.
        passages: how many passages there are.
        schema: the version of this layout.
    """

    encoder: Encoder
    segments: str
    factory: str
    passages: int
    schema: int = SCHEMA


class PassageIndex:
    """An open index. Many threads may use it at once.

        with PassageIndex.open("corpus/index") as index:
            scores, positions = index.search(vectors, top_k=20)

    Attributes:
        record: what `index.json` holds.
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
            folder: a folder that `build_index` wrote.
            parameters: search parameters of FAISS, as its ParameterSpace takes them: "nprobe=16", "efSearch=64".

        Raises:
            OSError: there is no index.
            ValueError: the index is damaged, or does not have these parameters.
            ImportError: FAISS is not installed.
        """
        faiss = import_library("faiss")
        folder = Path(folder)
        record = _read_index_record(folder)
        with explain_faiss_errors(f"{folder / FAISS_FILE} is damaged"):
            index = faiss.read_index(str(folder / FAISS_FILE), faiss.IO_FLAG_MMAP_IFC)
        if (index.ntotal, index.d) != (record.passages, record.encoder.dim):
            raise ValueError(
                f"{folder} is damaged: {FAISS_FILE} has {index.ntotal:,} vectors of dimension {index.d}, and "
                f"{INDEX_FILE} says {record.passages:,} of {record.encoder.dim}"
            )
        if parameters:
            _check_parameters(parameters)
            with explain_faiss_errors(f"parameters are {parameters!r}, and FAISS refused them"):
                faiss.ParameterSpace().set_index_parameters(index, parameters)
        try:
            return cls(record, index, folder)
        except (OSError, ValueError, IndexError, EOFError) as error:
            raise ValueError(f"{folder} is damaged: {error}") from None

    def search(self, vectors: NDArray[np.float32], top_k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the passages whose vectors have the largest inner products with each of the given vectors.

        They have the largest cosines where `record.encoder.similarity` is "cosine".

        Args:
            vectors: float32 (n, dim).
            top_k: how many to find for each.

        Returns:
            Scores, float32 (n, k), in falling order, and positions, int64 (n, k); k is `top_k`, or the number of
            passages if that is less. An index that is not exact may find fewer: then the last positions are -1.

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
            to_inner_product(vectors, self.record.encoder.similarity), min(top_k, self.record.passages)
        )
        return found

    def passages(self, positions: Sequence[int]) -> list[Passage]:
        """Read the passages at positions that `search` returned.

        Raises:
            IndexError: a position is out of range.
            ValueError: a passage is damaged.
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
        """Close the files."""
        self._passages.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_parameters(parameters: str) -> None:
    """Refuse numbers that FAISS would misread, or notice only during a search."""
    for each in parameters.split(","):
        name, _, value = each.partition("=")
        if not (name.strip().isidentifier() and _NUMBER.fullmatch(value) and 0 < float(value) <= _LARGEST):
            raise ValueError(f"parameters has {each!r}, and must be name=number, above 0 and up to {_LARGEST}")


def _read_index_record(folder: Path) -> IndexRecord:
    try:
        text = (folder / INDEX_FILE).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        if (folder / "index" / INDEX_FILE).is_file():
            raise OSError(f"{folder} is an encoded corpus; its index is {folder / 'index'}") from None
        raise OSError(
            f"{folder} is not an index: it has no {INDEX_FILE}. To make one: dpr-runtime index CORPUS"
        ) from None
    return record_from_json(IndexRecord, text, str(folder / INDEX_FILE), SCHEMA)


@contextmanager
def explain_faiss_errors(what: str) -> Iterator[None]:
    """Raise an error of FAISS as a ValueError: `what`, and its message without the line of its code."""
    try:
        yield
    except RuntimeError as error:
        message = " ".join(str(error).split()).rpartition(".cpp:")[2].lstrip("0123456789: ") or str(error)
        raise ValueError(f"{what}: {message}") from None
