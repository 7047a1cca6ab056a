"""One GPU, through cuda-python: memory, copies, and recordings of work. Every call into CUDA is checked.

CUDA's current device belongs to the thread, and to whoever else uses CUDA there: work is done within `current`, which
gives it back.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ctypes import c_char
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpr_export.runtime.engines.nvidia.driver import gpu_problem, has_context

try:
    from cuda.bindings import runtime
except ImportError as error:
    raise ImportError('cuda-python is not installed: pip install "dpr-export[tensorrt]"') from error

Address = int
Handle = int
_GB = 1e9


class CudaError(RuntimeError):
    """A call into CUDA failed. After most errors the device is lost to the process."""


class OutOfMemoryError(RuntimeError):
    """The device, or the pinned memory of the machine, has not as much left as was asked for."""


class Gpu:
    """An NVIDIA GPU.

    Attributes:
        index: its number.
        name: what it is called: "NVIDIA L4".
        compute_capability: of its processors: "8.9".
        driver: the CUDA version of the installed driver: "13.0".

    Raises:
        RuntimeError: it cannot be used; the message says what is missing.
    """

    def __init__(self, index: int) -> None:
        if problem := gpu_problem(index):
            raise RuntimeError(f"cuda:{index} cannot be used: {problem}")
        self.index = index
        self._recording = False
        self._waiting: list[Address] = []
        with self.current():
            attributes = runtime.cudaDeviceAttr
            major = self._call("cudaDeviceGetAttribute", attributes.cudaDevAttrComputeCapabilityMajor, index)
            minor = self._call("cudaDeviceGetAttribute", attributes.cudaDevAttrComputeCapabilityMinor, index)
            driver = self._call("cudaDriverGetVersion")
            self.name = self._call("cudaGetDeviceProperties", index).name.decode()
        self.compute_capability = f"{major}.{minor}"
        self.driver = f"{driver // 1000}.{driver % 1000 // 10}"

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make it this thread's current device, for as long as the context lasts."""
        before = self._call("cudaGetDevice")
        if before == self.index:
            yield
            return
        self._call("cudaSetDevice", self.index)
        try:
            yield
        finally:
            if has_context(before):
                runtime.cudaSetDevice(before)

    def allocate(self, size: int) -> Address:
        """So many bytes of its memory.

        Raises:
            OutOfMemoryError: it has not as many left.
        """
        return int(self._call("cudaMalloc", size, size=size))

    def free(self, address: Address) -> None:
        """Give memory back; while work is recorded, which this would break off, when that is done."""
        if self._recording:
            self._waiting.append(address)
        else:
            self._call("cudaFree", address)

    def _free_waiting(self) -> None:
        while self._waiting:
            runtime.cudaFree(self._waiting.pop())

    def allocate_pinned(self, size: int) -> Address:
        """So many bytes of the machine's memory that the GPU copies from and to by itself.

        Raises:
            OutOfMemoryError: it has not as many left.
        """
        return int(self._call("cudaMallocHost", size, size=size))

    def free_pinned(self, address: Address) -> None:
        self._call("cudaFreeHost", address)

    def new_stream(self) -> Handle:
        """A stream, whose work runs in order, and waits for no other stream's."""
        return int(self._call("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking))

    def end_stream(self, stream: Handle) -> None:
        self._call("cudaStreamDestroy", stream)

    def synchronize(self, stream: Handle) -> None:
        """Wait until all of a stream's work is done."""
        self._call("cudaStreamSynchronize", stream)

    def copy(self, target: Address, source: Address, size: int, stream: Handle) -> None:
        """Copy bytes within the device, or between it and pinned memory, when the stream comes to it."""
        self._call("cudaMemcpyAsync", target, source, size, runtime.cudaMemcpyKind.cudaMemcpyDefault, stream)

    def copy_corner(
        self, target: Address, source: Address, pitch: int, corner: tuple[int, int], stream: Handle
    ) -> None:
        """Copy the first bytes of the first rows of an array, densely.

        Args:
            target: where they go.
            source: the array.
            pitch: the bytes from one of its rows to the next.
            corner: how many bytes of how many rows.
            stream: when to copy.
        """
        width, rows = corner
        kind = runtime.cudaMemcpyKind.cudaMemcpyDefault
        self._call("cudaMemcpy2DAsync", target, width, source, pitch, width, rows, kind, stream)

    def record(self, stream: Handle, work: Callable[[], None]) -> Handle | None:
        """Record what `work` gives to a stream, without running it; None where it cannot be recorded."""
        self._call("cudaStreamBeginCapture", stream, runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        self._recording = True
        graph, failed = None, True
        try:
            with suppress(RuntimeError):
                work()
                failed = False
        finally:
            self._recording = False
            code, graph = runtime.cudaStreamEndCapture(stream)
        recording: Any = None
        if not failed and code == runtime.cudaError_t.cudaSuccess:
            code, recording = runtime.cudaGraphInstantiate(graph, 0)
        if graph is not None and int(graph):
            runtime.cudaGraphDestroy(graph)
        self._free_waiting()
        if failed or code != runtime.cudaError_t.cudaSuccess:
            runtime.cudaGetLastError()  # an error of recording does not stay, once it is read
            return None
        return int(recording)

    def replay(self, recording: Handle, stream: Handle) -> None:
        self._call("cudaGraphLaunch", recording, stream)

    def forget(self, recording: Handle) -> None:
        self._call("cudaGraphExecDestroy", recording)

    def _call(self, name: str, *arguments: Any, size: int = 0) -> Any:
        """Call a function of CUDA's runtime, and return what it gives.

        Raises:
            OutOfMemoryError: it has no memory left; `size` is how much was asked for.
            CudaError: any other error.
        """
        code, *values = getattr(runtime, name)(*arguments)
        if code == runtime.cudaError_t.cudaErrorMemoryAllocation:
            runtime.cudaGetLastError()  # this error does not stay, once it is read
            raise OutOfMemoryError(f"out of memory on cuda:{self.index}: {size / _GB:.2f} GB were asked for{_left()}")
        if code != runtime.cudaError_t.cudaSuccess:
            raise CudaError(f"{name} failed on cuda:{self.index}: {_text(code)}")
        return values[0] if values else None


def view(address: Address, shape: Sequence[int], dtype: Any) -> NDArray[Any]:
    """Pinned memory as an array; it must not be used once the memory is freed."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((c_char * size).from_address(address), dtype).reshape(shape)


def _left() -> str:
    code, free, total = runtime.cudaMemGetInfo()
    return "" if code != runtime.cudaError_t.cudaSuccess else f", and {free / _GB:.2f} of {total / _GB:.2f} are free"


def _text(code: Any) -> str:
    error, text = runtime.cudaGetErrorString(code)
    return text.decode() if error == runtime.cudaError_t.cudaSuccess else str(code)
