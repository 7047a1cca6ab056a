"""Read and write TensorRT engine files in the user's cache folder: one for each graph, library and kind of GPU.

The first line of a file is JSON: what the engine was built from and for, its size and its hash. The engine follows. A
file is written atomically. The key is compared with this machine first, and then the hash: TensorRT is never given an
engine that does not match, because such an engine can crash the process.
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
    """The first line of a TensorRT engine file.

    Attributes:
        key: what it was built from and for.
        inputs: the names of its inputs.
        outputs: the shapes of its outputs, by name.
        bytes: its size.
        sha256: its hash.
        verified: the result of comparing its outputs with the reference outputs on this GPU; None: not compared.
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
    key: EngineKey, inputs: Sequence[str], outputs: dict[str, Shape], engine: bytes, verified: str | None = None
) -> EngineRecord:
    """The record of an engine that was just built."""
    return EngineRecord(key, tuple(inputs), outputs, len(engine), hashlib.sha256(engine).hexdigest(), verified)


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
class EngineTarget:
    """The library and GPU that will run a TensorRT engine; the fields are those of its key."""

    library: str
    version: str
    compute_capability: str
    gpu: str | None
    driver: str


def find_engine(graph: str, target: EngineTarget) -> tuple[Path, EngineRecord]:
    """Find the TensorRT engine file of a graph that was built for a target.

    Args:
        graph: the SHA-256 of the .onnx file.
        target: the library and GPU that will run it.

    Raises:
        LookupError: no engine file fits; the message says why.
    """
    path = engine_path(graph, target.library, target.compute_capability, target.gpu)
    if not path.is_file():
        others = sorted(other.stem.partition("-")[2] for other in path.parent.glob(f"{graph[:32]}-*.engine"))
        built = f"there is one for {', '.join(others)}" if others else f"none is in {path.parent}"
        kind = f"compute capability {target.compute_capability}" + (f", {target.gpu}" if target.gpu else "")
        raise LookupError(f"{target.library} has no engine for this GPU, of {kind} ({built})")
    try:
        record = read_record(path)
    except (OSError, ValueError) as error:
        raise LookupError(str(error)) from None
    if problem := mismatch(record.key, graph, target):
        raise LookupError(f"the engine will not do: {problem}")
    return path, record


def mismatch(key: EngineKey, graph: str, target: EngineTarget) -> str | None:
    """Why an engine cannot run on a target; None where it can."""
    if key.graph != graph:
        return "it was built from another graph"
    if key.library != target.library:
        return f"it was built by {key.library}, and this is {target.library}"
    if key.version != target.version:
        return f"it was built by {key.library} {key.version}, and {target.version} is installed"
    if key.compute_capability != target.compute_capability:
        built, here = key.compute_capability, target.compute_capability
        return f"it was built for compute capability {built}, and this GPU has {here}"
    if key.gpu != target.gpu:
        return f"it was built for {key.gpu}, and this GPU is {target.gpu}"
    if key.driver not in (None, target.driver):
        return f"it was built with a driver of CUDA {key.driver}, and this one is of CUDA {target.driver}"
    return None
