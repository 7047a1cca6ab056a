"""Read and write TensorRT engine files in the user's cache folder: one for each graph, library and kind of GPU.

The first line of a file is JSON: its key, its size and its hash. The engine follows. The key is compared with this
machine, and then the hash, before TensorRT reads the engine: one that does not match can crash the process.
"""

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from dpr_export.models.artifact.atomic_writing import atomic_file
from dpr_export.runtime.engines.compile_cache import cache_home
from dpr_export.runtime.engines.nvidia.shape_buckets import Bucket, Shape

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class EngineKey:
    """What an engine was built from and for. It is used only if all of this matches."""

    graph: str  # the SHA-256 of the graph with its weights
    library: str  # "tensorrt" or "tensorrt_rtx"
    version: str  # the library's
    compute_capability: str  # the GPU's: "8.9"
    gpu: str | None  # its name, if kernels were timed on it; None: the engine runs on every GPU of that capability
    driver: str | None  # the CUDA version of its driver; None: it was built without a GPU
    buckets: tuple[Bucket, ...]


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """The first line of an engine file."""

    key: EngineKey
    inputs: tuple[str, ...]  # by name
    outputs: dict[str, Shape]  # by name
    bytes: int  # the engine's size
    sha256: str
    verified: str | None = None  # how it compared with the reference outputs on this GPU; None: it was not compared


def engine_path(graph: str, library: str, compute_capability: str, gpu: str | None) -> Path:
    """The file of a graph's engine."""
    return cache_home() / "tensorrt" / f"{graph[:32]}-{_kind_of_gpu(library, compute_capability, gpu)}.engine"


def timings_path(library: str, compute_capability: str, gpu: str | None) -> Path:
    """The file of kernel timings, which make the next build faster."""
    return cache_home() / "tensorrt" / f"{_kind_of_gpu(library, compute_capability, gpu)}.timings"


def _kind_of_gpu(library: str, compute_capability: str, gpu: str | None) -> str:
    name = "" if gpu is None else "-" + re.sub(r"\W+", "-", gpu).strip("-")
    return f"{library}-{compute_capability}{name}"


def kernels_path(engine: Path) -> Path:
    """The file of the kernels that TensorRT-RTX compiled for an engine."""
    return engine.with_suffix(".kernels")


def read_cached(path: Path) -> bytes:
    """Read timings or kernels; empty if there are none."""
    with suppress(OSError):
        return path.read_bytes()
    return b""


def write_cached(path: Path, content: bytes) -> None:
    """Write timings or kernels, if the folder can be written."""
    with suppress(OSError), atomic_file(path) as file:
        file.write(content)


def write_engine(path: Path, record: EngineRecord, engine: bytes) -> None:
    """Write an engine file, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(json.dumps({"format": _FORMAT, **asdict(record)}).encode() + b"\n")
        file.write(engine)


def read_record(path: Path) -> EngineRecord:
    """Read the first line of an engine file.

    Raises:
        OSError: there is no such file.
        ValueError: it is no engine file, or one of another version of this project.
    """
    with path.open("rb") as file:
        line = file.readline()
    try:
        values = json.loads(line)
        if values.pop("format") != _FORMAT or values.keys() != {field.name for field in fields(EngineRecord)}:
            raise ValueError("format")
        key = values.pop("key")
        buckets = tuple(Bucket(**bucket) for bucket in key.pop("buckets"))
        outputs = {name: tuple(shape) for name, shape in values.pop("outputs").items()}
        return EngineRecord(EngineKey(**key, buckets=buckets), tuple(values.pop("inputs")), outputs, **values)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise ValueError(f"{path} is no engine of this version of dpr-export") from None


def read_engine(path: Path, record: EngineRecord) -> bytes:
    """Read the engine after its record.

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


def find_engine(wanted: EngineKey) -> tuple[Path, EngineRecord]:
    """Find the engine file that matches a key; an engine with any buckets will do.

    Raises:
        LookupError: no engine file matches; the message says why.
    """
    path = engine_path(wanted.graph, wanted.library, wanted.compute_capability, wanted.gpu)
    if not path.is_file():
        others = sorted(other.stem.partition("-")[2] for other in path.parent.glob(f"{wanted.graph[:32]}-*.engine"))
        built = f"there is one for {', '.join(others)}" if others else f"none is in {path.parent}"
        kind = f"compute capability {wanted.compute_capability}" + (f", {wanted.gpu}" if wanted.gpu else "")
        raise LookupError(f"{wanted.library} has no engine for this GPU, of {kind} ({built})")
    try:
        record = read_record(path)
    except (OSError, ValueError) as error:
        raise LookupError(str(error)) from None
    if problem := mismatch(record.key, wanted):
        raise LookupError(f"the engine will not do: {problem}")
    return path, record


def mismatch(key: EngineKey, wanted: EngineKey) -> str | None:
    """Why an engine with `key` will not do; None if it will."""
    if key.graph != wanted.graph:
        return "it was built from another graph"
    if key.library != wanted.library:
        return f"it was built by {key.library}, and this is {wanted.library}"
    if key.version != wanted.version:
        return f"it was built by {key.library} {key.version}, and {wanted.version} is installed"
    if key.compute_capability != wanted.compute_capability:
        built, here = key.compute_capability, wanted.compute_capability
        return f"it was built for compute capability {built}, and this GPU has {here}"
    if key.gpu != wanted.gpu:
        return f"it was built for {key.gpu}, and this GPU is {wanted.gpu}"
    if key.driver not in (None, wanted.driver):
        return f"it was built with a driver of CUDA {key.driver}, and this one is of CUDA {wanted.driver}"
    return None
