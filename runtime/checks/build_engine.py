"""Build a TensorRT engine file from an exported folder, and write it to the cache folder where sessions look for it.

The engine's outputs are compared with the reference outputs on this GPU first; an engine that fails is not kept.
TensorRT-RTX can also build for GPUs that are not in this machine. Such an engine cannot be compared here; its record
says so.
"""

import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile

from dpr_export.models.artifact.atomic_writing import atomic_file
from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import REFERENCE_OUTPUTS_FILE, Variant
from dpr_export.models.artifact.reference_outputs import read_reference_outputs, select_examples
from dpr_export.models.artifact.variants import VARIANTS
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import IDS
from dpr_export.runtime.checks.parity import ParityError
from dpr_export.runtime.checks.verify import compare_outputs
from dpr_export.runtime.engines.devices import parse_device
from dpr_export.runtime.engines.nvidia.cuda import Gpu
from dpr_export.runtime.engines.nvidia.engine_files import (
    EngineKey,
    EngineRecord,
    engine_path,
    kernels_path,
    new_record,
    read_engine,
    read_record,
    timings_path,
    write_engine,
)
from dpr_export.runtime.engines.nvidia.engine_lookup import target_of
from dpr_export.runtime.engines.nvidia.shape_buckets import LENGTHS, buckets_for
from dpr_export.runtime.engines.nvidia.tensorrt import Built, TensorRt
from dpr_export.runtime.engines.nvidia.tensorrt_callbacks import Watch
from dpr_export.runtime.engines.nvidia.tensorrt_session import TensorRtSession

BACKEND = "tensorrt"


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that is kept.

    Attributes:
        path: its file.
        record: what it was built from and for.
        file: the graph, by its path in the exported folder.
        gpu: the GPU it was built for, by name, or by compute capability where it was not there.
        seconds: how long building took; None: it was there already.
    """

    path: Path
    record: EngineRecord
    file: str
    gpu: str
    seconds: float | None


def build_engine(
    folder: str | Path,
    *,
    precision: str = "auto",
    device: str = "cuda",
    lengths: Sequence[int] = LENGTHS,
    compute_capability: str | None = None,
    force: bool = False,
    watch: Watch | None = None,
) -> Engine:
    """Build the engine of one of a folder's variants for TensorRT.

    Args:
        folder: the exported folder.
        precision: the variant: "fp16", "int8", "fp32"; "auto" for the first in order of preference that it holds.
        device: the GPU to build on and for.
        lengths: the lengths that calls are padded to, one optimization profile each; the model's longest is always one.
        compute_capability: build for GPUs of this compute capability ("8.9") instead, without one, with TensorRT-RTX.
        force: build again what is there already.
        watch: told how the build goes on.

    Raises:
        OSError: there is no exported folder, or the engine cannot be written.
        ValueError: the folder is damaged, or holds no such variant; a length or compute capability that cannot be.
        ImportError: a library is not installed; the message says what to install.
        RuntimeError: the GPU cannot be used, or TensorRT refuses the graph; the message says why.
        ParityError: the engine fails the parity check; it is not kept.
    """
    if not device.startswith("cuda"):
        raise ValueError(f"device is {device!r}, and engines are built for GPUs: cuda, cuda:0, cuda:1, ...")
    _, index = parse_device(device)
    opened = ExportedFolder.open(folder)
    variant = _variant(opened, precision)
    if problem := opened.find_problem(variant.file):
        raise ValueError(f"{folder} is damaged: {problem}; export it again")
    trt = TensorRt()
    gpu = Gpu(index) if compute_capability is None else None
    key = _key(trt, gpu, compute_capability, opened, variant, lengths)
    path = engine_path(key.graph, key.library, key.compute_capability, key.gpu)
    name = gpu.name if gpu else f"GPUs of compute capability {key.compute_capability}"
    _check_writable(path.parent)
    start, kept = time.perf_counter(), None if force else _kept(path, key)
    if kept and (kept[0].verified or not gpu):
        return Engine(path, kept[0], variant.file, name, None)
    with gpu.current() if gpu else nullcontext():
        if kept:  # built before the GPU was there
            record, engine = kept
        else:
            built = _built(trt, opened.path / variant.file, key, compute_capability, watch)
            outputs = {output: shape for output, (_, shape) in built.outputs.items()}
            record, engine = new_record(key, list(built.inputs), outputs, built.engine), built.engine
        if gpu:
            record = replace(record, verified=_compare(trt, gpu, record, engine, opened, variant))
    write_engine(path, record, engine)
    if not kept:
        kernels_path(path).unlink(missing_ok=True)
    return Engine(path, record, variant.file, name, None if kept else time.perf_counter() - start)


def _key(
    trt: TensorRt,
    gpu: Gpu | None,
    compute_capability: str | None,
    folder: ExportedFolder,
    variant: Variant,
    lengths: Sequence[int],
) -> EngineKey:
    """What the engine is built from and for: the GPU that is here, or a named compute capability."""
    longest = DPRConfig.from_pretrained(folder.path).max_position_embeddings
    if tuple(lengths) != LENGTHS and max(lengths) > longest:
        raise ValueError(f"length is {max(lengths)}, and the longest that the model takes is {longest}")
    buckets = buckets_for(folder.manifest.kind, longest, lengths)
    graph = folder.manifest.files[variant.file].sha256
    if gpu is None:
        return EngineKey(graph, trt.library.name, trt.version, str(compute_capability), None, None, buckets)
    target = target_of(trt, gpu)
    return EngineKey(
        graph, target.library, target.version, target.compute_capability, target.gpu, target.driver, buckets
    )


def _check_writable(folder: Path) -> None:
    """Fail before the work rather than after it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"engines are kept in {folder}, which cannot be written ({error.strerror}): set XDG_CACHE_HOME"
        ) from None


def _variant(folder: ExportedFolder, precision: str) -> Variant:
    held = {(v.backend, v.precision, v.file): v for v in folder.manifest.variants}
    rows = [spec for spec in VARIANTS if spec.backend == BACKEND and precision in ("auto", spec.precision)]
    if not rows:
        known = ", ".join(spec.precision for spec in VARIANTS if spec.backend == BACKEND)
        raise ValueError(f"precision is {precision!r}, and must be one of: auto, {known}")
    for spec in rows:
        if (spec.backend, spec.precision, spec.file) in held:
            return held[spec.backend, spec.precision, spec.file]
    raise ValueError(
        f"{folder.path} holds no {rows[0].precision} variant for tensorrt: "
        f"dpr-export {folder.path} --backend tensorrt --precision {rows[0].precision} makes it"
    )


def _kept(path: Path, key: EngineKey) -> tuple[EngineRecord, bytes] | None:
    """The engine that is there already, if it is whole and its key is this one; drivers do not matter to an engine that
    was built, or is asked for, without a GPU."""
    with suppress(OSError, ValueError):
        record = read_record(path)
        any_driver = None in (record.key.driver, key.driver)
        if record.key == (replace(key, driver=record.key.driver) if any_driver else key):
            return record, read_engine(path, record)
    return None


def _built(trt: TensorRt, graph: Path, key: EngineKey, compute_capability: str | None, watch: Watch | None) -> Built:
    """Build, with the measurements of the last build for such a GPU, and keep those of this one."""
    timings = timings_path(key.library, key.compute_capability, key.gpu)
    known = b""
    with suppress(OSError):
        known = timings.read_bytes()
    built = trt.build(graph, key.buckets, compute_capability=compute_capability, timings=known, watch=watch)
    if built.timings is not None:
        with suppress(OSError), atomic_file(timings) as file:
            file.write(built.timings)
    return built


def _compare(
    trt: TensorRt, gpu: Gpu, record: EngineRecord, engine: bytes, folder: ExportedFolder, variant: Variant
) -> str:
    """Compare the engine with the reference outputs on this GPU, and return the result in words."""
    session = TensorRtSession.of(trt, gpu, record, engine)
    try:
        return compare_outputs(
            session, select_examples(read_reference_outputs(folder.path / REFERENCE_OUTPUTS_FILE), IDS), variant
        )
    except ParityError as error:
        raise ParityError(f"the engine of {variant.file} is not kept: {error}") from None
    finally:
        session.close()
