"""What a corpus is encoded with and cut by: the record of a folder of shards, and what identifies the job.

A job that goes on, on this machine or another, must be the same job: the same graph and tokenizer, the same input, cut
in the same way. Only the engine's version, the input's path and what is done about bad rows may differ.
"""

import json
from dataclasses import asdict, dataclass, replace
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from dpr_export.models.artifact.atomic_writing import atomic_file
from dpr_export.models.artifact.records import has_lone_surrogate, record_from_json, record_to_json
from dpr_export.runtime.corpus.encoding.shards import SCHEMA
from dpr_export.runtime.corpus.passages import format_of
from dpr_export.runtime.inference.encoders import DPRContextEncoder

CORPUS_FILE = "corpus.json"
MAY_DIFFER = {"engine", "name", "on_error", "shards", "passages", "skipped", "schema"}


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
    if has_lone_surrogate(file):
        raise ValueError(f"file {file!r} has a name that is not UTF-8: rename it")
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
    source = Input(file, format_of(file, format), hash_of(file))
    return Job(encoder, source, batch_tokens=model.batch_tokens if batch_tokens is None else batch_tokens, **cut)


def read_job(folder: Path) -> Job:
    """The job of a folder.

    Raises:
        OSError: the folder holds no encoded corpus.
        ValueError: its record is damaged, or newer.
    """
    try:
        text = (folder / CORPUS_FILE).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{folder / CORPUS_FILE} is not UTF-8 text: {error}") from None
    except (FileNotFoundError, NotADirectoryError):
        raise OSError(
            f"{folder} is no encoded corpus: it has no {CORPUS_FILE}. This command makes one: "
            f"dpr-runtime encode CONTEXT-ENCODER PASSAGES {folder}"
        ) from None
    return record_from_json(Job, text, str(folder / CORPUS_FILE), SCHEMA)


def write_job(folder: Path, job: Job) -> None:
    """Write a folder's job, whole or not at all."""
    with atomic_file(folder / CORPUS_FILE) as file:
        file.write(record_to_json(job).encode())


def finished(job: Job, shards: int, passages: int, skipped: int) -> Job:
    """The job once the end of its input was read."""
    return replace(job, shards=shards, passages=passages, skipped=skipped)


def identity(job: Job) -> str:
    """The SHA-256 of all of a job that may not differ."""

    def fixed(values: dict[str, Any]) -> dict[str, Any]:
        named = {name: value for name, value in values.items() if name not in MAY_DIFFER}
        return {name: fixed(value) if isinstance(value, dict) else value for name, value in named.items()}

    return sha256(json.dumps(fixed(asdict(job)), sort_keys=True).encode()).hexdigest()


def hash_of(file: str) -> str | None:
    """The SHA-256 of a file as it lies on the disk; None of standard input.

    Raises:
        OSError: it cannot be read.
    """
    if file == "-":
        return None
    path = Path(file)
    if path.is_dir():
        raise IsADirectoryError(f"{file} is a folder: give a file")
    if path.exists() and not path.is_file():
        raise OSError(f"{file} is a pipe or a device, which cannot be read twice: give - and feed it standard input")
    try:
        with path.open("rb") as opened:
            return file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise OSError(f"{file} cannot be read: {error.strerror}") from None
