"""Find the TensorRT engine file for a graph and a GPU, and check the loaded engine against its record."""

from pathlib import Path
from typing import Any

from dpr_export.runtime.engines.nvidia.cuda import Gpu
from dpr_export.runtime.engines.nvidia.engine_files import EngineKey, EngineRecord, find_engine
from dpr_export.runtime.engines.nvidia.shape_buckets import Bucket
from dpr_export.runtime.engines.nvidia.tensorrt import TensorRt, shape_of


def engine_for(graph: str, index: int) -> tuple[TensorRt, Gpu, Path, EngineRecord]:
    """Find the engine of a graph, given by its SHA-256, for GPU number `index`.

    Raises:
        ImportError: a library is not installed; the message says what to install.
        RuntimeError: the GPU cannot be used.
        LookupError: no engine file matches; the message says why.
    """
    trt, gpu = TensorRt(), Gpu(index)
    return trt, gpu, *find_engine(key_for(trt, gpu, graph))


def key_for(trt: TensorRt, gpu: Gpu, graph: str, buckets: tuple[Bucket, ...] = ()) -> EngineKey:
    """The key of a graph's engine for a GPU. TensorRT-RTX's engines run on every GPU of the same compute capability.

    Raises:
        RuntimeError: the library has no kernels for the GPU.
    """
    known = trt.compute_capabilities()
    if known and gpu.compute_capability not in known:
        raise RuntimeError(
            f"{trt.library.name} has no kernels for {gpu.name}, of compute capability {gpu.compute_capability}, only "
            f'for {", ".join(known)}: pip install "dpr-export[tensorrt]"'
        )
    name = None if trt.library.other_gpus else gpu.name
    return EngineKey(graph, trt.library.name, trt.version, gpu.compute_capability, name, gpu.driver, buckets)


def check_engine(engine: Any, record: EngineRecord) -> None:
    """Check the inputs, outputs and profiles of a loaded engine against its record.

    Raises:
        RuntimeError: they differ.
    """
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    shapes = {name: shape_of(engine.get_tensor_shape(name)) for name in names if name not in record.inputs}
    profiles = [
        [tuple(map(tuple, engine.get_tensor_profile_shape(name, number))) for name in record.inputs]
        for number in range(engine.num_optimization_profiles)
    ]
    expected = [[bucket.profile] * len(record.inputs) for bucket in record.key.buckets]
    if set(names) != {*record.inputs, *record.outputs} or shapes != record.outputs or profiles != expected:
        raise RuntimeError(
            f"the engine is not what its record says: it has {', '.join(names)}, {len(profiles)} profiles"
        )
