"""A recording double of `cuda.bindings.runtime`: a GPU whose memory is the machine's.

Not CUDA: it shows that our calls are in order and in bounds, not what a GPU does with them. Device and pinned memory
are buffers of their own, so data is where it was copied to and nowhere else; a copy that leaves a buffer, or touches
one that was freed, fails the test. Work given to a stream that records is kept and not done, as CUDA does.
"""

import ctypes
import threading
from collections.abc import Callable
from enum import IntEnum
from types import SimpleNamespace
from typing import Any


class cudaError_t(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureInvalidated = 901


class cudaMemcpyKind(IntEnum):
    cudaMemcpyDefault = 4


class cudaStreamCaptureMode(IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


class cudaDeviceAttr(IntEnum):
    cudaDevAttrComputeCapabilityMajor = 75
    cudaDevAttrComputeCapabilityMinor = 76


OK = cudaError_t.cudaSuccess
FREE_OF, DRIVER = 8_000_000_000, 13000
OTHER_DEVICE = 7  # what each thread's current device is, until it is set
ANYWHERE = ("cudaGetDevice", "cudaSetDevice", "cudaGetLastError", "cudaDriverGetVersion")
Work = Callable[[], None]


class CudaDouble:
    """One GPU, of compute capability 8.9.

    Attributes:
        calls: the name and arguments of each call, in order.
        failing: names of functions, and the error that their next call gives.
        capacity: how many bytes of device memory there are.
    """

    cudaError_t, cudaMemcpyKind, cudaDeviceAttr = cudaError_t, cudaMemcpyKind, cudaDeviceAttr
    cudaStreamCaptureMode = cudaStreamCaptureMode
    cudaStreamNonBlocking = 1

    def __init__(self, capacity: int = FREE_OF) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.failing: dict[str, cudaError_t] = {}
        self.capacity = capacity
        self.device: dict[int, ctypes.Array[Any]] = {}
        self.pinned: dict[int, ctypes.Array[Any]] = {}
        self.streams: dict[int, list[Work] | None] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.recordings: dict[int, list[Work]] = {}
        self._handles = iter(range(1, 1_000_000))
        self._thread = threading.local()

    def check_device(self, name: str) -> None:
        assert getattr(self._thread, "device", OTHER_DEVICE) == 0, f"{name} was called for another device"

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def submit(self, stream: int, work: Work) -> None:
        """Do work, or keep it where the stream records."""
        assert stream in self.streams, "work was given to no stream"
        recording = self.streams[stream]
        work() if recording is None else recording.append(work)

    def check(self, address: int, size: int, kinds: str = "device pinned") -> None:
        """Fail unless so many bytes at an address are within one live buffer."""
        for kind in kinds.split():
            for start, buffer in getattr(self, kind).items():
                if start <= address and address + size <= start + len(buffer):
                    return
        raise AssertionError(f"{size} bytes at {address} are not within a live buffer ({kinds})")

    def _did(self, name: str, *arguments: Any) -> cudaError_t:
        if name not in ANYWHERE:
            self.check_device(name)
        self.calls.append((name, arguments))
        return self.failing.pop(name, OK)

    def cudaGetDevice(self) -> tuple[Any, ...]:
        return self._did("cudaGetDevice"), getattr(self._thread, "device", OTHER_DEVICE)

    def cudaSetDevice(self, index: int) -> tuple[Any, ...]:
        self._thread.device = index
        return (self._did("cudaSetDevice", index),)

    def cudaDeviceGetAttribute(self, attribute: int, index: int) -> tuple[Any, ...]:
        major = attribute == cudaDeviceAttr.cudaDevAttrComputeCapabilityMajor
        return self._did("cudaDeviceGetAttribute", attribute, index), 8 if major else 9

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return self._did("cudaDriverGetVersion"), DRIVER

    def cudaGetDeviceProperties(self, index: int) -> tuple[Any, ...]:
        return self._did("cudaGetDeviceProperties", index), SimpleNamespace(name=b"Double GPU")

    def cudaMemGetInfo(self) -> tuple[Any, ...]:
        return OK, self.capacity - sum(map(len, self.device.values())), self.capacity

    def cudaGetLastError(self) -> tuple[Any, ...]:
        return (self._did("cudaGetLastError"),)

    def cudaGetErrorString(self, code: int) -> tuple[Any, ...]:
        return OK, f"error {int(code)} of the double".encode()

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        code = self._did("cudaMalloc", size)
        if code == OK and sum(map(len, self.device.values())) + size > self.capacity:
            code = cudaError_t.cudaErrorMemoryAllocation
        return (code, self._buffer(self.device, size)) if code == OK else (code, None)

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:
        code = self._did("cudaMallocHost", size)
        return (code, self._buffer(self.pinned, size)) if code == OK else (code, None)

    @staticmethod
    def _buffer(buffers: dict[int, Any], size: int) -> int:
        buffer = (ctypes.c_char * size)(*b"\xa5" * min(size, 64))  # what was not written is not zero
        buffers[ctypes.addressof(buffer)] = buffer
        return ctypes.addressof(buffer)

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        del self.device[address]
        return (self._did("cudaFree", address),)

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        del self.pinned[address]
        return (self._did("cudaFreeHost", address),)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        assert flags == self.cudaStreamNonBlocking
        handle = next(self._handles)
        self.streams[handle] = None
        return self._did("cudaStreamCreateWithFlags", flags), handle

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        del self.streams[stream]
        return (self._did("cudaStreamDestroy", stream),)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        assert self.streams[stream] is None, "a stream that records cannot be waited for"
        return (self._did("cudaStreamSynchronize", stream),)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> tuple[Any, ...]:
        assert kind == cudaMemcpyKind.cudaMemcpyDefault
        self.check(target, size)
        self.check(source, size)
        self.submit(stream, lambda: ctypes.memmove(target, source, size) and None)
        return (self._did("cudaMemcpyAsync", target, source, size),)

    def cudaMemcpy2DAsync(
        self, target: int, target_pitch: int, source: int, pitch: int, width: int, rows: int, kind: int, stream: int
    ) -> tuple[Any, ...]:
        assert kind == cudaMemcpyKind.cudaMemcpyDefault
        assert width <= min(target_pitch, pitch)
        self.check(target, target_pitch * (rows - 1) + width)
        self.check(source, pitch * (rows - 1) + width)

        def copy() -> None:
            for row in range(rows):
                ctypes.memmove(target + row * target_pitch, source + row * pitch, width)

        self.submit(stream, copy)
        return (self._did("cudaMemcpy2DAsync", target, source, width, rows),)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[Any, ...]:
        assert mode == cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        assert self.streams[stream] is None
        self.streams[stream] = []
        return (self._did("cudaStreamBeginCapture", stream),)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        handle, work = next(self._handles), self.streams[stream]
        assert work is not None, "nothing was being recorded"
        self.streams[stream] = None
        code = self._did("cudaStreamEndCapture", stream)
        if code == OK:
            self.graphs[handle] = work
        return code, handle if code == OK else None

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Any, ...]:
        handle = next(self._handles)
        self.recordings[handle] = self.graphs[graph]
        return self._did("cudaGraphInstantiate", graph, flags), handle

    def cudaGraphDestroy(self, graph: int) -> tuple[Any, ...]:
        del self.graphs[graph]
        return (self._did("cudaGraphDestroy", graph),)

    def cudaGraphLaunch(self, recording: int, stream: int) -> tuple[Any, ...]:
        code = self._did("cudaGraphLaunch", recording, stream)
        if code == OK:
            for work in self.recordings[recording]:
                self.submit(stream, work)
        return (code,)

    def cudaGraphExecDestroy(self, recording: int) -> tuple[Any, ...]:
        del self.recordings[recording]
        return (self._did("cudaGraphExecDestroy", recording),)
