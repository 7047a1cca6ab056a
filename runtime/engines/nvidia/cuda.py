"""One GPU, through cuda-python: memory, streams, copies and CUDA graphs. The error code of every call is checked.

CUDA keeps a current device for each thread, and other libraries use it too. So methods that take or return an address
or a handle are called within `current`, which restores the former device.
"""

import math
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
    """A call of CUDA failed. After most errors the process cannot use the device any more."""


class OutOfMemoryError(RuntimeError):
    """Not enough device memory, or pinned host memory, is free."""


class Gpu:
    """An NVIDIA GPU.

    Attributes:
        index: its number.
        name: its name: "NVIDIA L4".
        compute_capability: "8.9".
        driver: the CUDA version of the installed driver: "13.0".

    Raises:
        RuntimeError: it cannot be used; the message says what is missing.
    """

    def __init__(self, index: int) -> None:
        if problem := gpu_problem(index):
            raise RuntimeError(f"cuda:{index} cannot be used: {problem}")
        self.index = index
        self._recording = False
        self._to_free: list[Address] = []
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
        """Make this GPU the thread's current device, and restore the former one at the end."""
        before = self._call("cudaGetDevice")
        if before == self.index:
            yield
            return
        self._call("cudaSetDevice", self.index)
        try:
            yield
        finally:
            if has_context(before):  # to make another device current would create a context on it
                runtime.cudaSetDevice(before)

    def allocate(self, size: int) -> Address:
        """Allocate device memory, in bytes."""
        return int(self._call("cudaMalloc", size, size=size))

    def free(self, address: Address) -> None:
        """Free device memory. During a recording, which this would break off, it is freed at the recording's end."""
        if self._recording:
            self._to_free.append(address)
        else:
            self._call("cudaFree", address)

    def allocate_pinned(self, size: int) -> Address:
        """Allocate pinned host memory, in bytes: the GPU copies from and to it without the CPU."""
        return int(self._call("cudaMallocHost", size, size=size))

    def free_pinned(self, address: Address) -> None:
        self._call("cudaFreeHost", address)

    def release(self, free: Callable[[int], None], handle: int) -> None:
        """Call one of the methods that free something, from any thread. Nothing of a lost device can be freed."""
        with suppress(CudaError), self.current():
            free(handle)

    def new_stream(self) -> Handle:
        """Create a stream. Its work runs in order, and does not wait for the work of other streams."""
        return int(self._call("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking))

    def end_stream(self, stream: Handle) -> None:
        self._call("cudaStreamDestroy", stream)

    def synchronize(self, stream: Handle) -> None:
        """Wait until a stream has done all of its work."""
        self._call("cudaStreamSynchronize", stream)

    def copy(self, target: Address, source: Address, size: int, stream: Handle) -> None:
        """Copy bytes within the device, or between it and pinned memory. This too is work of the stream."""
        self._call("cudaMemcpyAsync", target, source, size, runtime.cudaMemcpyKind.cudaMemcpyDefault, stream)

    def copy_corner(
        self, target: Address, source: Address, pitch: int, corner: tuple[int, int], stream: Handle
    ) -> None:
        """Copy a corner (bytes, rows) of an array, whose rows are `pitch` bytes apart, into a dense array."""
        width, rows = corner
        kind = runtime.cudaMemcpyKind.cudaMemcpyDefault
        self._call("cudaMemcpy2DAsync", target, width, source, pitch, width, rows, kind, stream)

    def record(self, stream: Handle, work: Callable[[], None]) -> Handle | None:
        """Record the work that `work` adds to a stream as a CUDA graph, without running it; None if that fails."""
        self._call("cudaStreamBeginCapture", stream, runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        self._recording = True
        failed = True
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
        while self._to_free:
            runtime.cudaFree(self._to_free.pop())
        if failed or code != runtime.cudaError_t.cudaSuccess:
            runtime.cudaGetLastError()  # which clears the error
            return None
        return int(recording)

    def replay(self, recording: Handle, stream: Handle) -> None:
        self._call("cudaGraphLaunch", recording, stream)

    def forget(self, recording: Handle) -> None:
        self._call("cudaGraphExecDestroy", recording)

    def _call(self, name: str, *arguments: Any, size: int = 0) -> Any:
        """Call a function of CUDA's runtime, and return its value.

        Raises:
            OutOfMemoryError: no memory is free; `size` is how many bytes were to be allocated.
            CudaError: any other error.
        """
        code, *values = getattr(runtime, name)(*arguments)
        if code == runtime.cudaError_t.cudaErrorMemoryAllocation:
            runtime.cudaGetLastError()  # which clears the error
            raise OutOfMemoryError(
                f"out of memory on cuda:{self.index}: {size / _GB:.2f} GB were asked for{_free_memory()}"
            )
        if code != runtime.cudaError_t.cudaSuccess:
            raise CudaError(f"{name} failed on cuda:{self.index}: {_error_text(code)}")
        return values[0] if values else None


def view(address: Address, shape: Sequence[int], dtype: Any) -> NDArray[Any]:
    """View pinned memory as an array, which must not be used after the memory is freed."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer((c_char * size).from_address(address), dtype).reshape(shape)


def _free_memory() -> str:
    code, free, total = runtime.cudaMemGetInfo()
    return "" if code != runtime.cudaError_t.cudaSuccess else f", and {free / _GB:.2f} of {total / _GB:.2f} are free"


def _error_text(code: Any) -> str:
    error, text = runtime.cudaGetErrorString(code)
    return text.decode() if error == runtime.cudaError_t.cudaSuccess else str(code)
