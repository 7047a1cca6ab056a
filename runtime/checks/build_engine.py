"""Build a TensorRT engine file from an exported folder, in the cache folder where sessions look for it.

The engine is compared with the reference outputs on this GPU first, and is not kept if it fails. An engine that
TensorRT-RTX builds for a GPU that is not here cannot be compared, and its record says so.
"""

import hashlib
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile

from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import Variant
from dpr_export.models.artifact.variants import VARIANTS
from dpr_export.models.config import DPRConfig
from dpr_export.runtime.checks.parity import ParityError
from dpr_export.runtime.checks.verify import compare_outputs
from dpr_export.runtime.engines.devices import parse_device
from dpr_export.runtime.engines.nvidia.cuda import Gpu
from dpr_export.runtime.engines.nvidia.engine_files import (
    EngineKey,
    EngineRecord,
    engine_path,
    kernels_path,
    read_cached,
    read_engine,
    read_record,
    timings_path,
    write_cached,
    write_engine,
)
from dpr_export.runtime.engines.nvidia.engine_lookup import key_for
from dpr_export.runtime.engines.nvidia.shape_buckets import LENGTHS, buckets_for
from dpr_export.runtime.engines.nvidia.tensorrt import Built, TensorRt
from dpr_export.runtime.engines.nvidia.tensorrt_callbacks import Watch
from dpr_export.runtime.engines.nvidia.tensorrt_session import TensorRtSession
from dpr_export.runtime.inference.verdicts import judge

BACKEND = "tensorrt"


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine in the cache folder."""

    path: Path
    record: EngineRecord
    file: str  # the graph, by its path in the exported folder
    gpu: str  # the name of the GPU it was built for; if that was not here, its compute capability
    seconds: float | None  # how long the build took; None: the engine existed already


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
        precision: the variant: "fp16", "int8", "fp32"; "auto": the first in the order of preference that it holds.
        device: the GPU to build on and for.
        lengths: the lengths that calls are padded to, one optimization profile each; the model's longest is added.
        compute_capability: build without a GPU, with TensorRT-RTX, for GPUs of this compute capability ("8.9").
        force: build the engine again if it exists.
        watch: follows the progress.

    Raises:
        OSError: there is no exported folder, or the engine cannot be written.
        ValueError: the folder is damaged or holds no such variant, or a length or compute capability is not supported.
        ImportError: a library is not installed; the message says what to install.
        RuntimeError: the GPU cannot be used, or TensorRT refuses the graph; the message says why.
        ParityError: the engine fails the parity check; it is not kept.
    """
    if not device.startswith("cuda"):
        raise ValueError(f"device is {device!r}, and engines are built for GPUs: cuda, cuda:0, cuda:1, ...")
    _, index = parse_device(device)
    opened = ExportedFolder.open(folder)
    variant = _variant(opened, precision)
    for name in opened.manifest.files_of(variant.file):
        if problem := opened.find_problem(name):
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
        if kept:  # built without the GPU, and not compared yet
            record, engine = kept
        else:
            built = _build(trt, opened.path / variant.file, key, compute_capability, watch)
            engine, sha256 = built.engine, hashlib.sha256(built.engine).hexdigest()
            record = EngineRecord(key, built.inputs, built.outputs, len(engine), sha256)
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
    """The engine's key: for the GPU that is here, or for a named compute capability."""
    longest = DPRConfig.read(folder.path).max_position_embeddings
    if tuple(lengths) != LENGTHS and max(lengths) > longest:
        raise ValueError(f"length is {max(lengths)}, and the longest that the model takes is {longest}")
    buckets = buckets_for(folder.manifest.kind, longest, lengths)
    graph = folder.manifest.graph_sha256(variant.file)
    if gpu is None:
        return EngineKey(graph, trt.library.name, trt.version, str(compute_capability), None, None, buckets)
    return key_for(trt, gpu, graph, buckets)


def _check_writable(folder: Path) -> None:
    """Fail before the build rather than after it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"engines are kept in {folder}, which cannot be written ({error.strerror}): set XDG_CACHE_HOME"
        ) from None


def _variant(folder: ExportedFolder, precision: str) -> Variant:
    rows = [spec for spec in VARIANTS if spec.backend == BACKEND and precision in ("auto", spec.precision)]
    if not rows:
        known = ", ".join(spec.precision for spec in VARIANTS if spec.backend == BACKEND)
        raise ValueError(f"precision is {precision!r}, and must be one of: auto, {known}")
    held = {(v.backend, v.precision, v.file): v for v in folder.manifest.variants}
    for spec in rows:
        if variant := held.get((spec.backend, spec.precision, spec.file)):
            return variant
    raise ValueError(
        f"{folder.path} holds no {rows[0].precision} variant for tensorrt: "
        f"dpr-export {folder.path} --backend tensorrt --precision {rows[0].precision} makes it"
    )


def _kept(path: Path, key: EngineKey) -> tuple[EngineRecord, bytes] | None:
    """The engine that exists already, if it is undamaged and its key is this one. If it was built without a GPU, or is
    to be, the driver may differ."""
    with suppress(OSError, ValueError):
        record = read_record(path)
        any_driver = None in (record.key.driver, key.driver)
        if record.key == (replace(key, driver=record.key.driver) if any_driver else key):
            return record, read_engine(path, record)
    return None


def _build(trt: TensorRt, graph: Path, key: EngineKey, compute_capability: str | None, watch: Watch | None) -> Built:
    """Build with the kernel timings of the last build for such a GPU, and keep the new ones."""
    path = timings_path(key.library, key.compute_capability, key.gpu)
    timings = read_cached(path)
    built = trt.build(graph, key.buckets, compute_capability=compute_capability, timings=timings, watch=watch)
    if built.timings is not None:
        write_cached(path, built.timings)
    return built


def _compare(
    trt: TensorRt, gpu: Gpu, record: EngineRecord, engine: bytes, folder: ExportedFolder, variant: Variant
) -> str:
    """Compare the engine with the reference outputs on this GPU, and return the result in words."""
    try:
        with closing(TensorRtSession.of(trt, gpu, record, engine)) as session:
            return compare_outputs(session, folder, variant, judge(session, folder, variant, variant.precision))
    except ParityError as error:
        raise ParityError(f"the engine of {variant.file} is not kept: {error}") from None
