"""Hand device memory to other libraries without a copy, by DLPack (https://dmlc.github.io/dlpack/latest).

NumPy makes the capsule, for an array that it never reads; then the device is written into the capsule. So NumPy counts
the references to the memory: it is freed after the last consumer, or after a capsule that was never consumed.
"""

import ctypes
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

CPU, CUDA = 1, 2
_CAPSULE = b"dltensor"  # the capsule's name in DLPack 0.x, which every consumer still takes

_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype = ctypes.c_void_p
_get_pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)


class _Tensor(ctypes.Structure):
    """The beginning of DLPack's `DLManagedTensor`."""

    _fields_ = (("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_index", ctypes.c_int32))


class DeviceArray:
    """A dense float32 array on a device.

    Args:
        address: the address of its first byte.
        shape: its shape.
        device: DLPack's type and number of the device: `(CUDA, 0)`.
        free: called once with the address, when neither this object nor a consumer uses the memory any more.
    """

    def __init__(
        self, address: int, shape: tuple[int, ...], device: tuple[int, int], free: Callable[[int], object]
    ) -> None:
        self.address = address
        self.shape = shape
        self.dtype = np.dtype(np.float32)
        self._device = device
        self._free = free

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device

    def __dlpack__(self, *, stream: Any = None, **_: Any) -> Any:
        """Make a capsule for a consumer. `stream` is ignored: the array is complete, so no stream has to wait."""
        size = math.prod(self.shape) * self.dtype.itemsize
        memory: Any = (ctypes.c_char * size).from_address(self.address)
        memory.owner = self  # the capsule refers to the NumPy array, that to the memory, and so to this object
        capsule = np.ndarray(self.shape, self.dtype, memory).__dlpack__()
        tensor = _Tensor.from_address(_get_pointer(capsule, _CAPSULE))
        tensor.device_type, tensor.device_index = self._device
        return capsule

    def __del__(self) -> None:
        with suppress(Exception):  # when the program ends, what this needs may be gone
            self._free(self.address)
