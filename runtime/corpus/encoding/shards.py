"""Write and read the shards of an encoded corpus: vectors with their passages, each written whole or not at all.

    corpus.json         the job: the model, the input, how it is cut; and, once it is complete, its size
    000000.npy          vectors (rows, dim), float32 or float16
    000000.jsonl        the passages of these rows: id, title, text
    000000.json         the shard's record, written last: a shard without one does not exist

With Parquet, 000000.parquet has id, title, text and vector in place of the first two. A shard's number is its position
in the whole corpus: many machines may fill one folder, and a shard has the same bytes whoever writes it.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.artifact.atomic_writing import atomic_file
from dpr_export.models.artifact.folder import hash_file
from dpr_export.models.artifact.manifest import FileRecord
from dpr_export.models.artifact.records import record_from_json, record_to_json
from dpr_export.runtime.corpus.optional_libraries import import_library
from dpr_export.runtime.corpus.passages import Passage, read_corpus
from dpr_export.runtime.inference.encoders import Vectors

DTYPES = {"fp32": np.float32, "fp16": np.float16}
_NAMES = {"npy": ("npy", "jsonl"), "parquet": ("parquet",)}  # the files of a shard, by how it is stored
STORED = tuple(_NAMES)
SCHEMA = 1
HALF_WRITTEN = re.compile(  # files that a run leaves when it is killed
    r"\.(?:(?P<number>\d{6,})\.(?:npy|jsonl|parquet|json)\.|corpus\.json\.|\d+-of-\d+\.lock$)"
)


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard's record."""

    job: str  # identifies the job that made it, by `identify_job`
    rows: int  # how many passages it has
    skipped: int  # how many malformed rows of the input were skipped up to here
    files: dict[str, FileRecord]
    schema: int = SCHEMA


def write_shard(
    folder: Path, number: int, job: str, passages: Sequence[Passage], vectors: Vectors, skipped: int, stored: str
) -> None:
    """Write a shard's files and then its record, or none of them."""
    writers: dict[str, Callable[[BinaryIO], Any]] = {
        "npy": lambda file: np.lib.format.write_array(file, vectors, allow_pickle=False),
        "jsonl": lambda file: file.write("".join(map(to_json_line, passages)).encode()),
        "parquet": lambda file: _write_parquet(file, passages, vectors),
    }
    try:
        names = {f"{number:06}.{ending}": ending for ending in _NAMES[stored]}
        files = {name: _write_file(folder / name, writers[ending]) for name, ending in names.items()}
        shard = Shard(job, len(passages), skipped, files)
        _write_file(folder / f"{number:06}.json", lambda file: file.write(record_to_json(shard).encode()))
    except BaseException:
        remove_shard(folder, number)
        raise


def read_shard(folder: Path, number: int, job: str) -> Shard | None:
    """Read a shard's record; None if the job has no such shard, or not all of it."""
    path = folder / f"{number:06}.json"
    try:
        shard = record_from_json(Shard, path.read_text(encoding="utf-8"), str(path), SCHEMA)
        is_whole = all((folder / file).stat().st_size == record.bytes for file, record in shard.files.items())
    except (FileNotFoundError, ValueError):
        return None
    return shard if is_whole and shard.job == job else None


def remove_shard(folder: Path, number: int) -> None:
    """Remove a shard, its record first."""
    for ending in ("json", *chain(*_NAMES.values())):
        (folder / f"{number:06}.{ending}").unlink(missing_ok=True)


def check_shard(folder: Path, number: int, shard: Shard, rows: int, stored: str) -> None:
    """Check a shard's record against its files and the number of passages that it must have."""
    names, mend = _NAMES[stored], f"remove {number:06}.json and resume the job (dpr-runtime encode ... --resume)"
    if (shard.rows, sorted(shard.files)) != (rows, sorted(f"{number:06}.{ending}" for ending in names)):
        raise ValueError(f"{folder / f'{number:06}.json'} is damaged: {mend}")
    for name, record in shard.files.items():
        if hash_file(folder / name) != record:
            raise ValueError(f"{folder / name} is damaged, or another file: {mend}")


def shard_numbers(folder: Path) -> list[int]:
    """The numbers of the shards that have a record, in order."""
    return sorted(int(path.stem) for path in folder.glob("[0-9]*.json") if path.stem.isdecimal())


def shard_vectors(folder: Path, number: int, stored: str) -> NDArray[Any]:
    """A shard's vectors, (passages, dim); those of .npy files are mapped into memory."""
    path = folder / f"{number:06}.{stored}"
    if stored == "npy":
        vectors: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return vectors
    table = import_library("pyarrow.parquet").read_table(path, columns=["vector"])
    column = table["vector"].combine_chunks()
    flat: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), -1)


def shard_passages(folder: Path, number: int, stored: str) -> Iterator[Passage]:
    """A shard's passages, in order."""
    return read_corpus(folder / f"{number:06}.{'jsonl' if stored == 'npy' else stored}")


def remove_half_written(folder: Path, part: tuple[int, int]) -> None:
    """Remove the files that a killed run of this part left half-written; of any part, if `part` is the whole job."""
    index, count = part
    for path in folder.iterdir():
        found = HALF_WRITTEN.match(path.name)
        if found and (count == 1 or (found["number"] and int(found["number"]) % count == index - 1)):
            path.unlink(missing_ok=True)


def to_json_line(passage: Passage) -> str:
    """A passage as a line of JSON."""
    return json.dumps(passage._asdict(), ensure_ascii=False) + "\n"


def _write_file(path: Path, write: Callable[[BinaryIO], Any]) -> FileRecord:
    """Write a file whole, and sync it to the disk: a shard's record must never outlive its files."""
    with atomic_file(path) as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    return hash_file(path)


def _write_parquet(file: BinaryIO, passages: Sequence[Passage], vectors: Vectors) -> None:
    pyarrow, parquet = import_library("pyarrow"), import_library("pyarrow.parquet")
    texts = {name: [getattr(each, name) for each in passages] for name in ("id", "title", "text")}
    columns = {name: pyarrow.array(values, pyarrow.string()) for name, values in texts.items()}
    columns["vector"] = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.reshape(-1)), vectors.shape[1])
    parquet.write_table(pyarrow.table(columns), file)
