"""Record the job of a folder of shards: the model, the input, and how the corpus is cut.

A run that resumes a job, on this machine or another, must have the same graph, tokenizer and input, and cut it in the
same way. Only the engine's version, names and paths, how malformed rows are handled, and how vectors are compared later
may differ.
"""

import json
from dataclasses import asdict, dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from dpr_export.models.artifact.atomic_writing import atomic_file
from dpr_export.models.artifact.records import has_lone_surrogate, record_from_json, record_to_json
from dpr_export.runtime.corpus.encoding.shards import SCHEMA
from dpr_export.runtime.corpus.passages import format_of
from dpr_export.runtime.corpus.text_files import open_binary
from dpr_export.runtime.inference.encoders import DPRContextEncoder

CORPUS_FILE = "corpus.json"
MAY_DIFFER = {"engine", "name", "similarity", "on_error", "shards", "passages", "skipped", "schema"}


@dataclass(frozen=True, slots=True)
class Encoder:
    """The context encoder: its name, the hashes of its graph and tokenizer, how it was run; how its vectors compare."""

    name: str
    backend: str
    precision: str
    graph_sha256: str
    tokenizer_sha256: str
    engine: str
    dim: int
    similarity: str = "inner_product"


@dataclass(frozen=True, slots=True)
class Input:
    """The file of passages; standard input has no hash."""

    name: str
    format: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Job:
    """The record that `corpus.json` holds. Most fields are arguments of `encode_corpus`."""

    encoder: Encoder
    input: Input
    segments: str
    batch_tokens: int
    shard_size: int
    stored: str
    dtype: str
    on_error: str
    shards: int | None = None  # of the whole corpus, as the next two; None until its end was read
    passages: int | None = None
    skipped: int | None = None
    schema: int = SCHEMA


def describe_job(model: DPRContextEncoder, file: str, format: str, batch_tokens: int | None, **cut: Any) -> Job:
    """Describe the job of encoding a file with a model that was loaded from a folder.

    The arguments are those of `encode_corpus`; `cut` has segments, shard_size, stored, dtype and on_error.
    """
    if has_lone_surrogate(file):
        raise ValueError(f"file {file!r} must have a name in UTF-8: rename it")
    source = Input(file, format_of(file, format), hash_input(file))
    tokens = model.batch_tokens if batch_tokens is None else batch_tokens
    return Job(describe_encoder(model), source, batch_tokens=tokens, **cut)


def describe_encoder(model: DPRContextEncoder) -> Encoder:
    """Describe a context encoder that was loaded from a folder."""
    folder, choice = model.folder, model.choice
    assert folder is not None
    assert choice is not None
    return Encoder(
        folder.name,
        choice.variant.backend,
        choice.precision,
        folder.manifest.graph_sha256(choice.variant.file),
        folder.manifest.files["tokenizer.json"].sha256,
        model.engine,
        model.config.dim,
        folder.manifest.similarity,
    )


def read_job(folder: Path) -> Job:
    """Read the job of a folder."""
    try:
        text = (folder / CORPUS_FILE).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{folder / CORPUS_FILE} is not UTF-8 text: {error}") from None
    except (FileNotFoundError, NotADirectoryError):
        raise OSError(
            f"{folder} is not an encoded corpus: it has no {CORPUS_FILE}. To make one: "
            f"dpr-runtime encode CONTEXT-ENCODER PASSAGES {folder}"
        ) from None
    return record_from_json(Job, text, str(folder / CORPUS_FILE), SCHEMA)


def write_job(folder: Path, job: Job) -> None:
    """Write the job of a folder, whole or not at all."""
    with atomic_file(folder / CORPUS_FILE) as file:
        file.write(record_to_json(job).encode())


def identify_job(job: Job) -> str:
    """The SHA-256 of all fields of a job but MAY_DIFFER."""
    return sha256(json.dumps(fixed_fields(job), sort_keys=True).encode()).hexdigest()


def fixed_fields(job: Job) -> dict[str, Any]:
    """The fields of a job but MAY_DIFFER; those of its encoder and its input are dictionaries within."""
    return asdict(job, dict_factory=lambda fields: {name: value for name, value in fields if name not in MAY_DIFFER})


def hash_input(file: str) -> str | None:
    """The SHA-256 of a file's bytes; None for standard input."""
    if file == "-":
        return None
    path = Path(file)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(f"{file} is a pipe or a device, which cannot be read twice: use - and feed it to standard input")
    with open_binary(file) as opened:
        return file_digest(opened, "sha256").hexdigest()  # type: ignore[arg-type]  # it reads any binary file
