"""Find the TensorRT engine file for a graph and a GPU, and check the loaded engine against its record."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dpr_export.runtime.engines.nvidia.cuda import Gpu
from dpr_export.runtime.engines.nvidia.engine_files import EngineRecord, EngineTarget, find_engine
from dpr_export.runtime.engines.nvidia.shape_buckets import Bucket
from dpr_export.runtime.engines.nvidia.tensorrt import TensorRt, shape_of


def engine_for(graph: str, index: int) -> tuple[TensorRt, Gpu, Path, EngineRecord]:
    """The engine of a graph for GPU number `index`, and what runs it.

    Raises:
        ImportError: a library is not installed; the message says what to install.
        RuntimeError: the GPU cannot be used.
        LookupError: there is no engine that will do; the message says why.
    """
    trt, gpu = TensorRt(), Gpu(index)
    return trt, gpu, *find_engine(graph, target_of(trt, gpu))


def target_of(trt: TensorRt, gpu: Gpu) -> EngineTarget:
    """The target of an engine for a GPU. An engine of TensorRT-RTX runs on every GPU of the same compute capability.

    Raises:
        RuntimeError: the library has no kernels for the GPU.
    """
    known = trt.compute_capabilities()
    if known and gpu.compute_capability not in known:
        raise RuntimeError(
            f"{trt.library.name} has no kernels for {gpu.name}, of compute capability {gpu.compute_capability}, only "
            f'for {", ".join(known)}: pip install "dpr-export[tensorrt]"'
        )
    model = None if trt.library.other_gpus else gpu.name
    return EngineTarget(trt.library.name, trt.version, gpu.compute_capability, model, gpu.driver)


def check_engine(engine: Any, record: EngineRecord) -> None:
    """Compare what an engine says of itself with its record.

    Raises:
        RuntimeError: they differ.
    """
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    shapes = {name: shape_of(engine.get_tensor_shape(name)) for name in names if name not in record.inputs}
    profiles = [_rows_and_lengths(engine, record.inputs, number) for number in range(engine.num_optimization_profiles)]
    expected = [_of_bucket(bucket, len(record.inputs)) for bucket in record.key.buckets]
    if set(names) != {*record.inputs, *record.outputs} or shapes != record.outputs or profiles != expected:
        raise RuntimeError(
            f"the engine is not what its record says: it has {', '.join(names)}, {len(profiles)} profiles"
        )


def _rows_and_lengths(engine: Any, inputs: Sequence[str], number: int) -> list[list[tuple[int, ...]]]:
    return [[tuple(shape) for shape in engine.get_tensor_profile_shape(name, number)] for name in inputs]


def _of_bucket(bucket: Bucket, inputs: int) -> list[list[tuple[int, ...]]]:
    return [[(rows, bucket.length) for rows in (1, bucket.usual, bucket.most)]] * inputs
