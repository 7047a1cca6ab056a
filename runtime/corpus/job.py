"""What a corpus is encoded with and cut by, written before its first shard: shards of two jobs never lie in one folder.

A job that goes on, on this machine or another, must be the same job: the same graph and tokenizer, the same input, cut
in the same way. Only the engine's version and the input's path may differ.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from hashlib import file_digest
from pathlib import Path
from typing import Any

from dpr_export.models.records import read_record, written_record
from dpr_export.models.writing import file_written_whole, only_writer
from dpr_export.runtime.corpus.read import format_of
from dpr_export.runtime.corpus.shards import SCHEMA
from dpr_export.runtime.encoders import DPRContextEncoder

CORPUS_FILE = "corpus.json"
_MAY_DIFFER = {"engine", "name", "shards", "passages", "skipped", "schema"}


@dataclass(frozen=True, slots=True)
class Encoder:
    """The context encoder: the hashes of its graph and tokenizer, and how it was run."""

    name: str
    backend: str
    precision: str
    graph_sha256: str
    tokenizer_sha256: str
    engine: str
    dim: int


@dataclass(frozen=True, slots=True)
class Input:
    """The file of passages; one from standard input has no hash."""

    name: str
    format: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Job:
    """What `corpus.json` holds.

    Attributes:
        encoder: the model.
        input: the passages.
        segments: the token types, as `DPRContextEncoder.encode` has them.
        batch_tokens: how many tokens, padding included, one batch may have.
        shard_size: how many passages a shard has.
        stored: the shards' format, "npy" or "parquet".
        dtype: the stored numbers, "fp32" or "fp16".
        on_error: what a row that is no passage does, "stop" or "skip".
        shards, passages, skipped: how many there are in the whole corpus; None until its end was read.
        schema: the version of this layout.
    """

    encoder: Encoder
    input: Input
    segments: str
    batch_tokens: int
    shard_size: int
    stored: str
    dtype: str
    on_error: str
    shards: int | None = None
    passages: int | None = None
    skipped: int | None = None
    schema: int = SCHEMA


def job_of(model: DPRContextEncoder, file: str, format: str, batch_tokens: int | None, **cut: Any) -> Job:
    """The job of encoding a file with a model.

    Args:
        model: the context encoder, loaded from a folder.
        file: the passages; - is standard input.
        format: their format, or "auto".
        batch_tokens: how many tokens one batch may have; None: as many as suit the engine.
        cut: segments, shard_size, stored, dtype and on_error of `Job`.
    """
    folder, choice = model.folder, model.choice
    assert folder is not None
    assert choice is not None
    records = folder.manifest.files
    encoder = Encoder(
        folder.name,
        choice.variant.backend,
        choice.precision,
        records[choice.variant.file].sha256,
        records["tokenizer.json"].sha256,
        model.engine,
        model.config.dim,
    )
    source = Input(file, format_of(file, format), _hash(file))
    return Job(encoder, source, batch_tokens=batch_tokens or model.batch_tokens, **cut)


def read_job(folder: Path) -> Job:
    """The job of a folder.

    Raises:
        OSError: the folder holds no encoded corpus.
        ValueError: its record is damaged, or newer.
    """
    try:
        text = (folder / CORPUS_FILE).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise OSError(
            f"{folder} is no encoded corpus: it has no {CORPUS_FILE}. This command makes one: "
            f"dpr-runtime encode CONTEXT-ENCODER PASSAGES {folder}"
        ) from None
    return read_record(Job, text, str(folder / CORPUS_FILE), SCHEMA)


def write_job(folder: Path, job: Job) -> None:
    """Write a folder's job, whole or not at all."""
    with file_written_whole(folder / CORPUS_FILE) as file:
        file.write(written_record(job).encode())


@contextmanager
def begun(folder: Path, job: Job, resume: bool, part: tuple[int, int]) -> Iterator[None]:
    """Begin a job in a folder, or go on with it, as the only writer of this part of it.

    Raises:
        FileExistsError: the folder is not empty, and `resume` is False.
        ValueError: it holds another job.
        BlockingIOError: another process writes this part.
    """
    index, count = part
    shared = resume or count > 1
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"output {folder} is a file: give a folder")
    if not shared and folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"output {folder} is not empty: --resume goes on with it, or give another")
    if (folder / CORPUS_FILE).exists():
        _check_same(folder, read_job(folder), job)
    elif folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise FileExistsError(f"output {folder} is not empty, and is no encoded corpus: give another")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"output {folder} cannot be written: {error.strerror}") from None
    if not (folder / CORPUS_FILE).exists():
        write_job(folder, job)
    if count == 1:
        with only_writer(folder):
            yield
        return
    lock = folder / f".{index}-of-{count}.lock"
    lock.touch()
    with only_writer(lock):
        yield
        lock.unlink(missing_ok=True)


def finished(job: Job, shards: int, passages: int, skipped: int) -> Job:
    """The job once the end of its input was read."""
    return replace(job, shards=shards, passages=passages, skipped=skipped)


def _check_same(folder: Path, old: Any, new: Any, within: str = "") -> None:
    for field in fields(old):
        before, now = getattr(old, field.name), getattr(new, field.name)
        if field.name in _MAY_DIFFER:
            continue
        if is_dataclass(before):
            _check_same(folder, before, now, f"the {field.name}'s ")
        elif before != now:
            raise ValueError(
                f"output {folder} was begun with {within}{field.name.replace('_', ' ')} {_short(before)}, and this is "
                f"{_short(now)}: give another folder, or the same again"
            )


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text


def _hash(file: str) -> str | None:
    """The SHA-256 of a file as it lies on the disk; None of standard input.

    Raises:
        OSError: it cannot be read.
    """
    if file == "-":
        return None
    path = Path(file)
    if path.is_dir():
        raise IsADirectoryError(f"{file} is a folder: give a file")
    try:
        with path.open("rb") as opened:
            return file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise OSError(f"{file} cannot be read: {error.strerror}") from None
