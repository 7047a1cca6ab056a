"""The folder of an encoded corpus: shards of vectors with their passages, each there whole or not at all.

    corpus.json         what made it: the model, the input, how it is cut; and, once it is whole, how much there is
    000000.npy          vectors (rows, dim), float32 or float16
    000000.jsonl        the passages of these rows: id, title, text
    000000.json         the shard's record, written last: a shard without one is not there

With Parquet, 000000.parquet has id, title, text and vector in place of the first two. A shard's number is its place in
the whole corpus, whoever makes it: many machines may fill one folder, and each finished shard has the same bytes.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import file_digest, sha256
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.artifact.atomic_writing import atomic_file
from dpr_export.models.artifact.manifest import FileRecord
from dpr_export.models.artifact.records import record_from_json, record_to_json
from dpr_export.runtime.corpus.optional_libraries import needed
from dpr_export.runtime.corpus.passages import Passage, read_corpus
from dpr_export.runtime.inference.encoders import Vectors

DTYPES = {"fp32": np.float32, "fp16": np.float16}
_NAMES = {"npy": ("npy", "jsonl"), "parquet": ("parquet",)}  # the files of a shard, by how it is stored
STORED = tuple(_NAMES)
SCHEMA = 1
LEFT = re.compile(  # what a run that was killed leaves
    r"\.(?:(?P<number>\d{6,})\.(?:npy|jsonl|parquet|json)\.|corpus\.json\.|\d+-of-\d+\.lock$)"
)


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard's record.

    Attributes:
        job: the identity of the job that made it, as `job.identity` gives it.
        rows: how many passages it has.
        skipped: how many rows of the input that were no passages were met by then.
        files: its files' sizes and hashes.
        schema: the version of this layout.
    """

    job: str
    rows: int
    skipped: int
    files: dict[str, FileRecord]
    schema: int = SCHEMA


def write_shard(
    folder: Path, number: int, job: str, rows: Sequence[Passage], vectors: Vectors, skipped: int, stored: str
) -> None:
    """Write a shard's files, and then its record; or none of them.

    Raises:
        OSError: they cannot be written.
    """
    try:
        files = {name: _written(folder / name, write) for name, write in _FILES[stored](f"{number:06}", rows, vectors)}
        shard = Shard(job, len(rows), skipped, files)
        _written(folder / f"{number:06}.json", lambda file: file.write(record_to_json(shard).encode()))
    except BaseException:
        remove_shard(folder, number)
        raise


def read_shard(folder: Path, number: int, job: str) -> Shard | None:
    """A shard's record; None where the job's shard is not there whole."""
    path = folder / f"{number:06}.json"
    try:
        shard = record_from_json(Shard, path.read_text(encoding="utf-8"), str(path), SCHEMA)
        whole = all((folder / file).stat().st_size == record.bytes for file, record in shard.files.items())
    except (FileNotFoundError, ValueError):
        return None
    return shard if whole and shard.job == job else None


def remove_shard(folder: Path, number: int) -> None:
    """Remove a shard, its record first."""
    for ending in ("json", *chain(*_NAMES.values())):
        (folder / f"{number:06}.{ending}").unlink(missing_ok=True)


def check_shard(folder: Path, number: int, shard: Shard, rows: int, stored: str) -> None:
    """Compare a shard's record with its files, and with how many passages it must have.

    Raises:
        ValueError: they differ.
    """
    names, mend = _NAMES[stored], f"remove {number:06}.json and go on (dpr-runtime encode ... --resume)"
    if (shard.rows, sorted(shard.files)) != (rows, sorted(f"{number:06}.{ending}" for ending in names)):
        raise ValueError(f"{folder / f'{number:06}.json'} is damaged: {mend}")
    for name, record in shard.files.items():
        with (folder / name).open("rb") as file:
            if file_digest(file, "sha256").hexdigest() != record.sha256:
                raise ValueError(f"{folder / name} is damaged, or another file: {mend}")


def shard_numbers(folder: Path) -> list[int]:
    """The numbers of the records that are there, in order."""
    return sorted(int(path.stem) for path in folder.glob("[0-9]*.json") if path.stem.isdecimal())


def shard_vectors(folder: Path, number: int, stored: str) -> NDArray[Any]:
    """A shard's vectors, (rows, dim); of .npy files they are mapped into memory."""
    path = folder / f"{number:06}.{stored}"
    if stored == "npy":
        vectors: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return vectors
    table = needed("pyarrow.parquet").read_table(path, columns=["vector"])
    column = table["vector"].combine_chunks()
    flat: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), -1)


def shard_rows(folder: Path, number: int, stored: str) -> Iterator[Passage]:
    """A shard's passages, in order."""
    return read_corpus(folder / f"{number:06}.{'jsonl' if stored == 'npy' else stored}")


def sweep(folder: Path, part: tuple[int, int]) -> None:
    """Remove what a run of this part that was killed left half-written; a run alone, what any part left."""
    index, count = part
    for path in folder.iterdir():
        found = LEFT.match(path.name)
        if found and (count == 1 or (found["number"] and int(found["number"]) % count == index - 1)):
            path.unlink(missing_ok=True)


def as_json(row: Passage) -> str:
    """A passage as a line of JSON."""
    return json.dumps(row._asdict(), ensure_ascii=False) + "\n"


def _written(path: Path, write: Callable[[BinaryIO], Any]) -> FileRecord:
    """Write a file whole, and onto the disk itself: a record must never outlive what it records."""
    with atomic_file(path) as file:
        hashed = _Hashed(file)
        write(hashed)  # type: ignore[arg-type]  # it has all of a file that is written to
        file.flush()
        os.fsync(file.fileno())
    return FileRecord(hashed.bytes, hashed.hash.hexdigest())


class _Hashed:
    """A file that is written to, hashed meanwhile."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.bytes, self.hash = file, 0, sha256()

    def write(self, data: Any) -> int:
        """As a file's."""
        view = memoryview(data).cast("B")
        self.hash.update(view)
        self.bytes += view.nbytes
        return self._file.write(view)

    def tell(self) -> int:
        """As a file's."""
        return self.bytes

    def flush(self) -> None:
        """As a file's."""
        self._file.flush()


_Write = tuple[str, Callable[[BinaryIO], Any]]


def _npy(name: str, rows: Sequence[Passage], vectors: Vectors) -> Iterator[_Write]:
    yield f"{name}.npy", lambda file: np.lib.format.write_array(file, vectors, allow_pickle=False)
    yield f"{name}.jsonl", lambda file: file.write("".join(map(as_json, rows)).encode())


def _parquet(name: str, rows: Sequence[Passage], vectors: Vectors) -> Iterator[_Write]:
    pyarrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")

    def write(file: BinaryIO) -> None:
        flat = pyarrow.array(vectors.reshape(-1))
        columns = {
            "id": pyarrow.array([row.id for row in rows], pyarrow.string()),
            "title": pyarrow.array([row.title for row in rows], pyarrow.string()),
            "text": pyarrow.array([row.text for row in rows], pyarrow.string()),
            "vector": pyarrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
        parquet.write_table(pyarrow.table(columns), file)

    yield f"{name}.parquet", write


_FILES: dict[str, Callable[[str, Sequence[Passage], Vectors], Iterator[_Write]]] = {"npy": _npy, "parquet": _parquet}
