"""Engines that were built, in the user's cache folder: one file for each graph, library and kind of GPU.

A file is one line of JSON, which says what the engine was built from and for, and the engine behind it; it is written
whole or not at all. What it was built for is compared with what is here first, and then its hash: an engine that does
not match is never given to TensorRT, which might end the process.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dpr_export.models.artifact.atomic_writing import atomic_file
from dpr_export.runtime.engines.compile_cache import cache_home
from dpr_export.runtime.engines.nvidia.shape_buckets import Bucket, Shape

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class EngineKey:
    """What an engine was built from and for; only where all of it matches is the engine used.

    Attributes:
        graph: the SHA-256 of the .onnx file.
        library: "tensorrt" or "tensorrt_rtx".
        version: the library's.
        compute_capability: of the GPU: "8.9".
        gpu: the GPU's name, whose kernels were measured; None for one that runs on all of that capability.
        driver: the CUDA version of its driver; None for an engine built for a GPU that was not there, whose kernels
            are compiled where it is loaded.
        buckets: the lengths, and for each the usual and the most rows.
    """

    graph: str
    library: str
    version: str
    compute_capability: str
    gpu: str | None
    driver: str | None
    buckets: tuple[Bucket, ...]


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """What stands before an engine in its file.

    Attributes:
        key: what it was built from and for.
        inputs: the names of its inputs.
        outputs: the shapes of its outputs, by name.
        bytes: its size.
        sha256: its hash.
        verified: what was found when its outputs were compared with the original's on this GPU; None: they were not.
    """

    key: EngineKey
    inputs: tuple[str, ...]
    outputs: dict[str, Shape]
    bytes: int
    sha256: str
    verified: str | None = None


def engine_path(graph: str, library: str, compute_capability: str, gpu: str | None) -> Path:
    """Where the engine of a graph is kept."""
    return cache_home() / "tensorrt" / f"{graph[:32]}-{_kind_of_gpu(library, compute_capability, gpu)}.engine"


def timings_path(library: str, compute_capability: str, gpu: str | None) -> Path:
    """Where the measurements of kernels are kept, which make the next build faster."""
    return cache_home() / "tensorrt" / f"{_kind_of_gpu(library, compute_capability, gpu)}.timings"


def _kind_of_gpu(library: str, compute_capability: str, gpu: str | None) -> str:
    name = "" if gpu is None else "-" + re.sub(r"\W+", "-", gpu).strip("-")
    return f"{library}-{compute_capability}{name}"


def kernels_path(engine: Path) -> Path:
    """Where the kernels that TensorRT-RTX compiled for an engine are kept."""
    return engine.with_suffix(".kernels")


def write_engine(path: Path, record: EngineRecord, engine: bytes) -> None:
    """Write an engine's file.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(json.dumps({"format": _FORMAT, **asdict(record)}).encode() + b"\n")
        file.write(engine)


def new_record(
    key: EngineKey, inputs: Sequence[str], outputs: dict[str, Shape], engine: bytes, proved: str | None = None
) -> EngineRecord:
    """The record of an engine that was just built."""
    return EngineRecord(key, tuple(inputs), outputs, len(engine), hashlib.sha256(engine).hexdigest(), proved)


def read_record(path: Path) -> EngineRecord:
    """What stands before an engine.

    Raises:
        OSError: there is no such file.
        ValueError: it is not an engine's file, or one of another version of this project.
    """
    with path.open("rb") as file:
        line = file.readline()
    try:
        values = json.loads(line)
        if values.pop("format") != _FORMAT:
            raise ValueError("format")
        return _record(values)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise ValueError(f"{path} is no engine of this version of dpr-export") from None


def _record(values: dict[str, Any]) -> EngineRecord:
    if values.keys() != {field.name for field in fields(EngineRecord)}:
        raise ValueError("fields")
    key = dict(values.pop("key"))
    buckets = tuple(Bucket(**bucket) for bucket in key.pop("buckets"))
    inputs = tuple(values.pop("inputs"))
    outputs = {name: tuple(shape) for name, shape in values.pop("outputs").items()}
    return EngineRecord(EngineKey(**key, buckets=buckets), inputs, outputs, **values)


def read_engine(path: Path, record: EngineRecord) -> bytes:
    """The engine behind its record.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged.
    """
    with path.open("rb") as file:
        file.readline()
        engine = file.read()
    if len(engine) != record.bytes or hashlib.sha256(engine).hexdigest() != record.sha256:
        raise ValueError(f"{path} is damaged: it does not hold the engine that was built")
    return engine


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine is to run: as in its key."""

    library: str
    version: str
    compute_capability: str
    gpu: str | None
    driver: str


def find_engine(graph: str, place: Place) -> tuple[Path, EngineRecord]:
    """The engine of a graph that was built for a place.

    Args:
        graph: the SHA-256 of the .onnx file.
        place: where it is to run.

    Raises:
        LookupError: there is none that will do; the message says why.
    """
    path = engine_path(graph, place.library, place.compute_capability, place.gpu)
    if not path.is_file():
        others = sorted(other.stem.partition("-")[2] for other in path.parent.glob(f"{graph[:32]}-*.engine"))
        built = f"there is one for {', '.join(others)}" if others else f"none is in {path.parent}"
        kind = f"compute capability {place.compute_capability}" + (f", {place.gpu}" if place.gpu else "")
        raise LookupError(f"{place.library} has no engine for this GPU, of {kind} ({built})")
    try:
        record = read_record(path)
    except (OSError, ValueError) as error:
        raise LookupError(str(error)) from None
    if problem := mismatch(record.key, graph, place):
        raise LookupError(f"the engine will not do: {problem}")
    return path, record


def mismatch(key: EngineKey, graph: str, place: Place) -> str | None:
    """Why an engine will not do in a place, in words; None where it will."""
    if key.graph != graph:
        return "it was built from another graph"
    if key.library != place.library:
        return f"it was built by {key.library}, and this is {place.library}"
    if key.version != place.version:
        return f"it was built by {key.library} {key.version}, and {place.version} is installed"
    if key.compute_capability != place.compute_capability:
        return (
            f"it was built for compute capability {key.compute_capability}, and this GPU has {place.compute_capability}"
        )
    if key.gpu != place.gpu:
        return f"it was built for {key.gpu}, and this GPU is {place.gpu}"
    if key.driver not in (None, place.driver):
        return f"it was built with a driver of CUDA {key.driver}, and this one is of CUDA {place.driver}"
    return None
