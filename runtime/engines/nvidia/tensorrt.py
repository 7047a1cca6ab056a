"""Build engines from graphs, and load them, with TensorRT 10 or 11, or TensorRT-RTX; `LIBRARIES` says how they differ.

Networks are strongly typed: precision is in the graph, and no builder flag changes it. An engine has one optimization
profile for each shape bucket, in which only the number of rows is dynamic, so that kernels are chosen for the length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from dpr_export.runtime.engines.nvidia.shape_buckets import Bucket, Shape
from dpr_export.runtime.engines.nvidia.tensorrt_callbacks import Watch, logger, monitor


@dataclass(frozen=True, slots=True)
class Library:
    """A TensorRT library."""

    name: str  # the Python module
    extra: str  # the project's extra that installs it
    timing_cache: bool  # whether a build times kernels, and can use the timings of an earlier build
    other_gpus: bool  # whether it builds for GPUs that are not here: kernels are compiled when the engine is loaded
    own_recording: bool  # whether it records CUDA graphs itself, and caches the kernels that it compiled


LIBRARIES = (
    Library("tensorrt", "tensorrt", timing_cache=True, other_gpus=False, own_recording=False),
    Library("tensorrt_rtx", "tensorrt-rtx", timing_cache=False, other_gpus=True, own_recording=True),
)


class Built(NamedTuple):
    """An engine that was built, with kernel timings for the next build; None if the library makes none."""

    engine: bytes
    inputs: tuple[str, ...]
    outputs: dict[str, Shape]
    timings: bytes | None


def installed() -> Library | None:
    """The first of the libraries that is installed."""
    return next((library for library in LIBRARIES if find_spec(library.name)), None)


class TensorRt:
    """The first of the TensorRT libraries that is installed, imported.

    Raises:
        ImportError: none is installed, or its shared libraries are not found.
    """

    def __init__(self) -> None:
        found = installed()
        if found is None:
            raise ImportError('tensorrt is not installed: pip install "dpr-export[tensorrt]"')
        try:
            self.module: Any = import_module(found.name)
        except (ImportError, OSError) as error:
            raise ImportError(
                f'{found.name} cannot be loaded: {error}: pip install "dpr-export[{found.extra}]"'
            ) from None
        self.library = found
        self.version = str(self.module.__version__)
        self._log, self._problems = logger(self.module)

    def build(
        self,
        graph: Path,
        buckets: Sequence[Bucket],
        *,
        compute_capability: str | None = None,
        timings: bytes = b"",
        watch: Watch | None = None,
    ) -> Built:
        """Build an engine of a graph.

        Args:
            graph: the .onnx file, whose inputs are int64 (rows, length) each.
            buckets: the shape buckets, one optimization profile each.
            compute_capability: the GPU to build for, "8.9"; None for the current device.
            timings: kernel timings of an earlier build.
            watch: follows the progress.

        Raises:
            ValueError: the library does not build for such a GPU.
            RuntimeError: it refuses the graph, or cannot build it; the message says why.
            KeyboardInterrupt: `watch` stopped the build.
        """
        trt, watch = self.module, watch or Watch()
        target = self._target(compute_capability) if compute_capability else None
        self._problems.clear()
        builder = trt.Builder(self._log)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        self._parse(network, graph)
        inputs = [network.get_input(index) for index in range(network.num_inputs)]
        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)  # compute float32 in float32
        config.progress_monitor = monitor(trt, watch)
        if target is not None:
            config.num_compute_capabilities = 1
            config.set_compute_capability(target, 0)
        timing_cache = None
        if self.library.timing_cache:
            timing_cache = config.create_timing_cache(timings)
            if not config.set_timing_cache(timing_cache, False):  # of another GPU or version
                timing_cache = config.create_timing_cache(b"")
                config.set_timing_cache(timing_cache, False)
        for bucket in buckets:
            if config.add_optimization_profile(self._profile(builder, bucket, inputs)) < 0:
                raise RuntimeError(
                    f"{self.library.name} refuses the profile of {bucket.length} tokens: {self._reason()}"
                )
        engine = builder.build_serialized_network(network, config)
        if watch.stopped():
            raise KeyboardInterrupt
        if engine is None:
            raise RuntimeError(f"{self.library.name} cannot build {graph}: {self._reason()}")
        outputs = [network.get_output(index) for index in range(network.num_outputs)]
        return Built(
            bytes(engine),
            tuple(tensor.name for tensor in inputs),
            {tensor.name: shape_of(tensor.shape) for tensor in outputs},
            bytes(timing_cache.serialize()) if timing_cache is not None else None,
        )

    def load(self, engine: bytes) -> tuple[Any, Any]:
        """Load a serialized engine, and return its runtime and the engine."""
        self._problems.clear()
        runtime = self.module.Runtime(self._log)
        loaded = runtime.deserialize_cuda_engine(engine)
        if loaded is None:
            raise RuntimeError(f"{self.library.name} cannot load the engine: {self._reason()}")
        return runtime, loaded

    def context(self, engine: Any, kernels: Any, recorded: bool) -> Any:
        """Create an execution context without memory of its own.

        Args:
            engine: a loaded engine.
            kernels: the result of `kernel_cache`.
            recorded: whether TensorRT-RTX should record its calls as CUDA graphs.
        """
        trt = self.module
        self._problems.clear()
        if self.library.own_recording:
            config = engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
            strategies = trt.CudaGraphStrategy
            config.cuda_graph_strategy = strategies.WHOLE_GRAPH_CAPTURE if recorded else strategies.DISABLED
            config.set_runtime_cache(kernels)
            context = engine.create_execution_context(config)
        else:
            context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise RuntimeError(f"{self.library.name} cannot make an execution context: {self._reason()}")
        return context

    def kernel_cache(self, engine: Any, kept: bytes) -> Any:
        """TensorRT-RTX's cache of compiled kernels, filled with `kept`; None for a library that has no such cache.

        TensorRT-RTX ignores kernels of another version, GPU or driver.
        """
        if not self.library.own_recording:
            return None
        cache = engine.create_runtime_config().create_runtime_cache()
        if kept:
            cache.deserialize(kept)
        return cache

    def compute_capabilities(self) -> dict[str, Any]:
        """The library's own constants for the compute capabilities that it supports ("8.9"); empty if it lists none."""
        members = self.module.ComputeCapability.__members__ if self.library.other_gpus else {}
        return {f"{name[2:-1]}.{name[-1]}": value for name, value in members.items() if name.startswith("SM")}

    def failure(self, what: str) -> RuntimeError:
        """An error that says what failed, and the reason in the library's log; the log is cleared."""
        reason = self._reason()
        self._problems.clear()
        return RuntimeError(f"{self.library.name} failed: {what}: {reason}")

    def _parse(self, network: Any, graph: Path) -> None:
        parser = self.module.OnnxParser(network, self._log)
        if not parser.parse_from_file(str(graph)):
            reason = self._reason()
            if parser.num_errors:
                error = parser.get_error(0)
                description = " ".join(str(error.desc()).split())
                reason = f"operator {error.node_operator()} at {error.node_name()}: {description}"
            raise RuntimeError(f"{self.library.name} refuses {graph}: {reason}")
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            if tensor.dtype != self.module.DataType.INT64 or len(tensor.shape) != 2:
                raise RuntimeError(
                    f"{graph} is no graph of this project: its input {tensor.name} is not int64 (rows, length)"
                )

    def _profile(self, builder: Any, bucket: Bucket, inputs: Sequence[Any]) -> Any:
        profile = builder.create_optimization_profile()
        for tensor in inputs:
            profile.set_shape(tensor.name, *bucket.profile)
        return profile

    def _target(self, compute_capability: str) -> Any:
        if not self.library.other_gpus:
            raise ValueError(
                f"compute_capability is {compute_capability!r}, and {self.library.name} builds for the GPU that is "
                'here: pip install "dpr-export[tensorrt-rtx]" builds for others'
            )
        known = self.compute_capabilities()
        if compute_capability not in known:
            raise ValueError(f"compute_capability is {compute_capability!r}, and must be one of: {', '.join(known)}")
        return known[compute_capability]

    def _reason(self) -> str:
        """The first error in the log; later ones follow from it."""
        return self._problems[0] if self._problems else "it does not say why"


def shape_of(dimensions: Sequence[int]) -> Shape:
    """A shape with None for each dynamic dimension."""
    return tuple(None if size < 0 else int(size) for size in dimensions)
