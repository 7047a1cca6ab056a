"""TensorRT: graphs to engines, and engines from files, in one way for its releases 10 and 11 and for TensorRT-RTX.

Their Python interfaces are one but for what the table says. Networks are always strongly typed: precision is in the
graph, and no flag of the builder changes it. An engine has one optimization profile for each length of the table in
`shape_buckets.py`; only the number of rows is dynamic in it, so that kernels are chosen for the length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dpr_export.runtime.engines.nvidia.shape_buckets import Bucket, Shape
from dpr_export.runtime.engines.nvidia.tensorrt_callbacks import Unwatched, Watch, logger, monitor


@dataclass(frozen=True, slots=True)
class Library:
    """One of the libraries, and how it differs from the others.

    Attributes:
        name: the Python module.
        extra: what of the project's extras installs it.
        timing_cache: whether building measures kernels, and the measurements can be kept for the next build.
        other_gpus: whether it builds for a GPU that is not there: kernels are compiled where the engine is loaded.
        own_recording: whether it records CUDA graphs itself, and keeps compiled kernels in a cache of its own.
    """

    name: str
    extra: str
    timing_cache: bool
    other_gpus: bool
    own_recording: bool


LIBRARIES = (
    Library("tensorrt", "tensorrt", timing_cache=True, other_gpus=False, own_recording=False),
    Library("tensorrt_rtx", "tensorrt-rtx", timing_cache=False, other_gpus=True, own_recording=True),
)


@dataclass(frozen=True, slots=True)
class Built:
    """An engine, and what the library says of it.

    Attributes:
        engine: what `TensorRt.load` takes.
        inputs: each input's type, by name.
        outputs: each output's type and shape, by name.
        profiles: for each profile, the least, usual and most (rows, length) of each input.
        timings: the measurements of kernels, for the next build; None where the library makes none.
    """

    engine: bytes
    inputs: dict[str, str]
    outputs: dict[str, tuple[str, Shape]]
    profiles: tuple[dict[str, tuple[tuple[int, ...], ...]], ...]
    timings: bytes | None


def installed() -> Library | None:
    """The first of the libraries that is installed."""
    return next((library for library in LIBRARIES if find_spec(library.name)), None)


class TensorRt:
    """A TensorRT library, loaded.

    Args:
        library: which; None for the first that is installed.

    Raises:
        ImportError: it is not installed, or its own libraries are not found.
    """

    def __init__(self, library: Library | None = None) -> None:
        found = library or installed()
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
        """Build an engine of a graph, with a profile for each length.

        Args:
            graph: the .onnx file, whose inputs are int64 (rows, length) each.
            buckets: the lengths, and for each the usual and the most rows.
            compute_capability: the GPU to build for, "8.9"; None for the one that is here.
            timings: measurements of an earlier build.
            watch: told how the build goes on.

        Raises:
            ValueError: the library does not build for such a GPU.
            RuntimeError: it refuses the graph, or cannot build it; the message says why.
            KeyboardInterrupt: `watch` stopped it.
        """
        trt, watch = self.module, watch or Unwatched()
        target = self._target(compute_capability) if compute_capability else None
        self._problems.clear()
        builder = trt.Builder(self._log)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        self._parse(network, graph)
        inputs = [network.get_input(index) for index in range(network.num_inputs)]
        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)  # float32 is float32
        config.progress_monitor = monitor(trt, watch)
        if target is not None:
            config.num_compute_capabilities = 1
            config.set_compute_capability(target, 0)
        measured = None
        if self.library.timing_cache:
            measured = config.create_timing_cache(timings)
            if not config.set_timing_cache(measured, False):  # they are another GPU's or version's
                measured = config.create_timing_cache(b"")
                config.set_timing_cache(measured, False)
        profiles = [self._profile(builder, config, inputs, bucket) for bucket in buckets]
        engine = builder.build_serialized_network(network, config)
        if watch.stopped():
            raise KeyboardInterrupt
        if engine is None:
            raise RuntimeError(f"{self.library.name} cannot build {graph}: {self._reason()}")
        outputs = [network.get_output(index) for index in range(network.num_outputs)]
        return Built(
            bytes(engine),
            {tensor.name: tensor.dtype.name for tensor in inputs},
            {tensor.name: (tensor.dtype.name, shape_of(tensor.shape)) for tensor in outputs},
            tuple(
                {tensor.name: tuple(tuple(s) for s in profile.get_shape(tensor.name)) for tensor in inputs}
                for profile in profiles
            ),
            bytes(measured.serialize()) if measured is not None else None,
        )

    def load(self, engine: bytes) -> tuple[Any, Any]:
        """An engine, and the runtime that it belongs to.

        Raises:
            RuntimeError: it is none of this library's, or the GPU cannot be used.
        """
        self._problems.clear()
        runtime = self.module.Runtime(self._log)
        loaded = runtime.deserialize_cuda_engine(engine)
        if loaded is None:
            raise RuntimeError(f"{self.library.name} cannot load the engine: {self._reason()}")
        return runtime, loaded

    def context(self, engine: Any, kernels: Any, recorded: bool) -> Any:
        """What runs an engine, in memory that is given to it.

        Args:
            engine: a loaded engine.
            kernels: what `kernel_cache` gave.
            recorded: whether a library that records CUDA graphs itself is to.

        Raises:
            RuntimeError: it cannot be made.
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
        """TensorRT-RTX's cache of the kernels that it compiles, filled with what was kept of an earlier one.

        None for a library that has none. What is kept of another version, GPU or driver is ignored by the library.
        """
        if not self.library.own_recording:
            return None
        cache = engine.create_runtime_config().create_runtime_cache()
        if kept:
            cache.deserialize(kept)
        return cache

    def compute_capabilities(self) -> dict[str, Any]:
        """The compute capabilities that the library has kernels for: "8.9". Empty for one that does not list them."""
        members = self.module.ComputeCapability.__members__ if self.library.other_gpus else {}
        return {f"{name[2:-1]}.{name[-1]}": value for name, value in members.items() if name.startswith("SM")}

    def failure(self, what: str) -> RuntimeError:
        """An error that says what failed, and why by the library's log, which begins anew."""
        reason = self._reason()
        self._problems.clear()
        return RuntimeError(f"{self.library.name} failed: {what}: {reason}")

    def _parse(self, network: Any, graph: Path) -> None:
        parser = self.module.OnnxParser(network, self._log)
        if not parser.parse_from_file(str(graph)):
            raise RuntimeError(f"{self.library.name} refuses {graph}: {_first_error(parser) or self._reason()}")
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            if tensor.dtype != self.module.DataType.INT64 or len(tensor.shape) != 2:
                raise RuntimeError(
                    f"{graph} is no graph of this project: its input {tensor.name} is not int64 (rows, length)"
                )

    def _profile(self, builder: Any, config: Any, inputs: Sequence[Any], bucket: Bucket) -> Any:
        profile = builder.create_optimization_profile()
        for tensor in inputs:
            profile.set_shape(tensor.name, *((rows, bucket.length) for rows in (1, bucket.usual, bucket.most)))
        if config.add_optimization_profile(profile) < 0:
            raise RuntimeError(f"{self.library.name} refuses the profile of {bucket.length} tokens: {self._reason()}")
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
        """The first error of what failed; those after it follow from it."""
        return self._problems[0] if self._problems else "it does not say why"


def shape_of(dimensions: Sequence[int]) -> Shape:
    """A shape in which what is dynamic is None."""
    return tuple(None if size < 0 else int(size) for size in dimensions)


def _first_error(parser: Any) -> str | None:
    if not parser.num_errors:
        return None
    error = parser.get_error(0)
    return f"operator {error.node_operator()} at {error.node_name()}: {' '.join(str(error.desc()).split())}"
