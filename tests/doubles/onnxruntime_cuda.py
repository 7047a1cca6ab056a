"""A recording double of an onnxruntime-gpu: ONNX Runtime on the CPU, which takes "cuda" for "cpu".

Not CUDA: it shows that inputs and outputs are bound where and as they should be, and that sizes are recorded once. What
is bound is really computed. A graph that is "recorded" is tied to its binding: another binding under its number fails.

Capturing is as in CUDA's global mode: while one thread captures, another that opens a session, runs one, allocates or
copies breaks the capture off.
"""

import threading
import time
from typing import Any
from weakref import finalize

import onnxruntime as ort


class Capture:
    """A capture in this process, of one thread at a time: `broken` says whether another thread used CUDA meanwhile."""

    SECONDS = 0.005
    thread: int | None = None
    broken = False

    @classmethod
    def use_cuda(cls) -> None:
        if cls.thread not in (None, threading.get_ident()):
            cls.broken = True

    @classmethod
    def run(cls) -> None:
        cls.use_cuda()  # one capture breaks another off
        cls.thread, cls.broken = threading.get_ident(), False
        time.sleep(cls.SECONDS)
        cls.thread = None
        if cls.broken:
            raise RuntimeError("CUDA failure 901: operation failed due to a previous error during capture")


class OrtValueDouble:
    """`OrtValue`, with device memory in the machine's; the devices that were asked for are in `devices`."""

    devices: list[tuple[str, int]] = []  # noqa: RUF012 (the double's record)

    @classmethod
    def ortvalue_from_numpy(cls, array: Any, device: str, index: int) -> Any:
        Capture.use_cuda()
        cls.devices.append((device, index))
        return ort.OrtValue.ortvalue_from_numpy(array.copy())

    @classmethod
    def ortvalue_from_shape_and_type(cls, shape: Any, dtype: Any, device: str, index: int) -> Any:
        Capture.use_cuda()
        cls.devices.append((device, index))
        return ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype)


class BindingDouble:
    def __init__(self, session: Any) -> None:
        self.real = session.io_binding()
        self.bound: list[tuple[str, Any]] = []

    def bind_ortvalue_input(self, name: str, value: Any) -> None:
        self.bound.append((name, value))
        self.real.bind_ortvalue_input(name, value)

    def bind_ortvalue_output(self, name: str, value: Any) -> None:
        self.bound.append((name, value))
        self.real.bind_ortvalue_output(name, value)

    def synchronize_outputs(self) -> None:
        self.real.synchronize_outputs()


class SessionDouble:
    """`InferenceSession`, with one provider, which is CUDA's by name."""

    def __init__(self, library: "OnnxRuntimeDouble", graph: str, options: Any, providers: Any) -> None:
        ((name, values),) = providers
        Capture.use_cuda()
        if library.severity <= 2:
            print("[W:onnxruntime:Default] No registered plugin EP device found for 'CUDAExecutionProvider'")
        library.sessions.append((name, values))
        library.options.append(options)
        library.threads.append(threading.get_ident())
        finalize(self, lambda: library.threads.append(threading.get_ident()))
        if library.refusing and values["enable_cuda_graph"] == "1":
            raise RuntimeError("not all nodes are partitioned to the CUDA EP")
        self._library = library
        self._real = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._recorded: dict[str, Any] = {}

    def get_providers(self) -> list[str]:
        return self._library.providers

    def get_inputs(self) -> Any:
        return self._real.get_inputs()

    def get_outputs(self) -> Any:
        return self._real.get_outputs()

    def io_binding(self) -> BindingDouble:
        return BindingDouble(self._real)

    def run_with_iobinding(self, binding: BindingDouble, options: Any) -> None:
        number = options.get_run_config_entry("gpu_graph_id")
        Capture.use_cuda()
        self._library.threads.append(threading.get_ident())
        self._library.runs.append((number, [tuple(value.shape()) for _, value in binding.bound]))
        if self._library.failing:
            raise RuntimeError(self._library.failing.pop())
        if number not in ("-1", *self._recorded):
            Capture.run()
        if number != "-1":
            assert self._recorded.setdefault(number, binding) is binding, "a recorded graph was given other buffers"
        self._real.run_with_iobinding(binding.real, options)


class OnnxRuntimeDouble:
    """The module.

    Attributes:
        sessions: the provider and its options of each session.
        options: the session options of each session.
        threads: the thread of each session's opening, runs and end.
        runs: the graph number and the shapes of the bound values of each run.
        failing: messages; each makes one run fail.
        refusing: sessions that should record are refused.
        providers: what a session says it has.
        severity: what the library's own log prints: warnings and worse, by default.
    """

    GraphOptimizationLevel, SessionOptions, RunOptions = ort.GraphOptimizationLevel, ort.SessionOptions, ort.RunOptions
    OrtValue = OrtValueDouble
    __version__ = ort.__version__
    cuda_version = "13.0"

    def __init__(self) -> None:
        self.sessions: list[tuple[str, dict[str, str]]] = []
        self.options: list[Any] = []
        self.threads: list[int] = []
        self.runs: list[tuple[str, Any]] = []
        self.failing: list[str] = []
        self.refusing = False
        self.providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        self.severity = 2
        OrtValueDouble.devices.clear()

    def set_default_logger_severity(self, severity: int) -> None:
        self.severity = severity

    def get_available_providers(self) -> list[str]:
        return self.providers

    def InferenceSession(self, graph: str, options: Any, providers: Any, enable_fallback: int) -> SessionDouble:
        assert not enable_fallback, "ONNX Runtime would take the CPU by itself"
        return SessionDouble(self, graph, options, providers)
