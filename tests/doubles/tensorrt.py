"""A recording double of `tensorrt` and `tensorrt_rtx`: engines that ONNX Runtime computes on the CPU.

Not TensorRT: it shows that what we call is called in order and with what belongs there, not what TensorRT does. An
execution context checks what TensorRT's own documentation asks for, and reads and writes at the addresses that it was
given, in the memory of the CUDA double. It has the names that we use and no others; `test_doubles.py` compares them
with the real library's.
"""

import ctypes
import json
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from tests.doubles.cuda import CudaDouble

SCRATCH_OF_A_TOKEN = 100
_TYPES = {onnx.TensorProto.INT64: "INT64", onnx.TensorProto.FLOAT: "FLOAT"}


class DataType(IntEnum):
    FLOAT = 0
    INT64 = 8


class Tensor:
    def __init__(self, value: onnx.ValueInfoProto) -> None:
        tensor = value.type.tensor_type
        self.name = value.name
        self.dtype = DataType[_TYPES[tensor.elem_type]]
        self.shape = tuple(axis.dim_value if axis.HasField("dim_value") else -1 for axis in tensor.shape.dim)


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        assert len(shapes) == 3
        self.shapes[name] = list(shapes)

    def get_shape(self, name: str) -> list[tuple[int, ...]]:
        return self.shapes[name]


class Config:
    def __init__(self, library: "TensorRtDouble") -> None:
        self._library = library
        self.progress_monitor: Any = None
        self.num_compute_capabilities = 0
        self.target: Any = None
        self.flags = {library.BuilderFlag.TF32}
        self.profiles: list[Profile] = []
        self.timing_cache: Any = None

    def clear_flag(self, flag: Any) -> None:
        self.flags.discard(flag)

    def set_compute_capability(self, target: Any, index: int) -> None:
        assert (self.num_compute_capabilities, index) == (1, 0)
        self.target = target

    def create_timing_cache(self, kept: bytes) -> "TimingCache":
        return TimingCache(kept)

    def set_timing_cache(self, cache: "TimingCache", ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.timing_cache = cache
        return True

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1


class TimingCache:
    def __init__(self, kept: bytes) -> None:
        self.kept = kept

    def serialize(self) -> bytes:
        return self.kept + b"measured;"


class Network:
    def __init__(self) -> None:
        self.path: Path | None = None
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []

    def read(self, path: Path) -> None:
        graph = onnx.load(path).graph
        self.path, self._inputs, self._outputs = path, *([Tensor(v) for v in vs] for vs in (graph.input, graph.output))

    num_inputs = property(lambda self: len(self._inputs))
    num_outputs = property(lambda self: len(self._outputs))

    def get_input(self, index: int) -> Tensor:
        return self._inputs[index]

    def get_output(self, index: int) -> Tensor:
        return self._outputs[index]


class Context:
    """An execution context; it asserts what has to be true before a call."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._recorded = False
        self._memory = (0, 0)
        self._profile: int | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_device_memory(self, address: int, size: int) -> None:
        self._engine.cuda.check(address, size, "device")
        self._memory = (address, size)

    def set_optimization_profile_async(self, number: int, stream: int) -> bool:
        assert stream in self._engine.cuda.streams
        self._profile = number
        self._engine.library.did("set_optimization_profile_async", number)
        return number < len(self._engine.profiles)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._engine.cuda.check(address, 1, "device")
        self._addresses[name] = address
        return name in self._engine.names

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self._profile is not None, "a shape was set before the profile"
        assert not (self._recorded and self._shapes.get(name) != tuple(shape)), "a recorded context was changed"
        assert not any(self._engine.cuda.streams.values()), "a shape was set while work was recorded"
        least, _, most = self._engine.profiles[self._profile][name]
        self._shapes[name] = tuple(shape)
        return all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))

    def execute_async_v3(self, stream: int) -> bool:
        engine, library = self._engine, self._engine.library
        assert self._profile is not None
        assert self._memory[1] >= engine.get_device_memory_size_for_profile_v2(self._profile), "too little scratch"
        engine.cuda.check(*self._memory, "device")
        assert self._shapes.keys() == set(engine.inputs), "an input has no shape"
        assert self._addresses.keys() == set(engine.names), "a tensor has no address"
        library.did("execute_async_v3", self._profile, tuple(self._shapes[engine.inputs[0]]))
        if library.failing:
            library.log_error(library.failing.pop())
            return False
        self._recorded |= engine.cuda.streams[stream] is not None
        shapes, addresses = dict(self._shapes), dict(self._addresses)
        engine.cuda.submit(stream, lambda: engine.compute(shapes, addresses))
        return True


class RuntimeConfig:
    cuda_graph_strategy: Any = None

    def __init__(self, library: "TensorRtDouble") -> None:
        self._library = library
        self.strategy: Any = None
        self.cache: Any = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> "RuntimeCache":
        return RuntimeCache(self._library)

    def set_runtime_cache(self, cache: "RuntimeCache") -> None:
        self.cache = cache


class RuntimeCache:
    def __init__(self, library: "TensorRtDouble") -> None:
        self._library = library
        self.kept = b""

    def deserialize(self, kept: bytes) -> bool:
        self._library.did("deserialize kernels", kept)
        self.kept = kept
        return True

    def serialize(self) -> bytes:
        return self.kept + b"compiled;"


class Engine:
    def __init__(self, library: "TensorRtDouble", values: dict[str, Any]) -> None:
        self.library, self.cuda = library, library.cuda
        self.profiles = [{n: [tuple(s) for s in shapes] for n, shapes in p.items()} for p in values["profiles"]]
        self.session = ort.InferenceSession(values["graph"], providers=["CPUExecutionProvider"])
        graph = onnx.load(values["graph"]).graph
        self.tensors = {value.name: Tensor(value) for value in (*graph.input, *graph.output)}
        self.inputs = [value.name for value in graph.input]
        self.names = list(self.tensors)
        self.num_io_tensors = len(self.names)
        self.num_optimization_profiles = len(self.profiles)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def get_tensor_profile_shape(self, name: str, number: int) -> list[tuple[int, ...]]:
        return self.profiles[number][name]

    def get_device_memory_size_for_profile_v2(self, number: int) -> int:
        return SCRATCH_OF_A_TOKEN * int(np.prod(self.profiles[number][self.inputs[0]][2]))

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig(self.library)

    def create_execution_context(self, how: Any) -> Context | None:
        strategy = how.strategy if isinstance(how, RuntimeConfig) else how
        assert strategy == self.library.ExecutionContextAllocationStrategy.USER_MANAGED
        if self.library.own_recording:
            assert how.cuda_graph_strategy in self.library.CudaGraphStrategy
            assert isinstance(how.cache, RuntimeCache)
        self.library.did("create_execution_context")
        if self.library.no_contexts:
            self.library.log_error("no context can be made")
            return None
        return Context(self)

    def compute(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        """Read inputs at their addresses, compute, and write outputs at theirs."""
        feeds = {}
        for name, shape in shapes.items():
            size = int(np.prod(shape)) * 8
            self.cuda.check(addresses[name], size, "device")
            feeds[name] = np.frombuffer(ctypes.string_at(addresses[name], size), np.int64).reshape(shape)
        for name, array in zip(self.names[len(self.inputs) :], self.session.run(None, feeds), strict=True):
            data = np.ascontiguousarray(array, np.float32).tobytes()
            self.cuda.check(addresses[name], len(data), "device")
            ctypes.memmove(addresses[name], data, len(data))


class TensorRtDouble:
    """The module. `library.own_recording` makes it tensorrt_rtx, with what that has more.

    Attributes:
        calls: what was done, in order.
        failing: messages; each makes one call of an engine fail.
        no_contexts: no execution context can be made.
        networks: the flags that each network was created with.
    """

    DataType = DataType

    class ILogger:
        class Severity(IntEnum):
            INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

        def __init__(self) -> None:
            pass

    class IProgressMonitor:
        def __init__(self) -> None:
            pass

    class BuilderFlag(IntEnum):
        TF32 = 7

    class NetworkDefinitionCreationFlag(IntEnum):
        STRONGLY_TYPED = 1

    class ExecutionContextAllocationStrategy(IntEnum):
        STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)

    def __init__(self, cuda: CudaDouble, *, own_recording: bool) -> None:
        self.__version__ = "1.2.3.4"
        self.cuda = cuda
        self.own_recording = own_recording
        self.calls: list[tuple[Any, ...]] = []
        self.failing: list[str] = []
        self.no_contexts = False
        self.networks: list[int] = []
        self.configs: list[Config] = []
        self.logger: Any = None
        if own_recording:
            self.CudaGraphStrategy = IntEnum("CudaGraphStrategy", {"DISABLED": 0, "WHOLE_GRAPH_CAPTURE": 1})
            self.ComputeCapability = IntEnum("ComputeCapability", {"NONE": 0, "SM89": 89, "SM120": 120})

    def did(self, *call: Any) -> None:
        if call[0] != "build_serialized_network" or self.configs[-1].target is None:
            self.cuda.check_device(str(call[0]))
        self.calls.append(call)

    def log_error(self, message: str) -> None:
        self.logger.log(self.ILogger.Severity.ERROR, message)

    def Builder(self, logger: Any) -> "Builder":
        self.logger = logger
        return Builder(self)

    def OnnxParser(self, network: Network, logger: Any) -> "Parser":
        assert logger is self.logger
        return Parser(network)

    def Runtime(self, logger: Any) -> "Runtime":
        self.logger = logger
        return Runtime(self)


class Builder:
    def __init__(self, library: TensorRtDouble) -> None:
        self._library = library

    def create_network(self, flags: int) -> Network:
        self._library.networks.append(flags)
        return Network()

    def create_builder_config(self) -> Config:
        self._library.configs.append(Config(self._library))
        return self._library.configs[-1]

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        self._library.did("build_serialized_network")
        monitor = config.progress_monitor
        monitor.phase_start("Building", None, 2)
        monitor.phase_start("Timing", "Building", 3)
        if not all(monitor.step_complete("Timing", step) for step in range(3)):
            return None
        monitor.phase_finish("Timing")
        monitor.phase_finish("Building")
        if self._library.failing:
            self._library.log_error(self._library.failing.pop())
            return None
        profiles = [profile.shapes for profile in config.profiles]
        return json.dumps({"graph": str(network.path), "profiles": profiles}).encode()


class Parser:
    num_errors = 0

    def __init__(self, network: Network) -> None:
        self._network = network

    def parse_from_file(self, path: str) -> bool:
        self._network.read(Path(path))
        return True


class Runtime:
    def __init__(self, library: TensorRtDouble) -> None:
        self._library = library

    def deserialize_cuda_engine(self, engine: bytes) -> Engine | None:
        self._library.did("deserialize_cuda_engine", engine)
        if self._library.failing:
            self._library.log_error(self._library.failing.pop())
            return None
        return Engine(self._library, json.loads(engine))
