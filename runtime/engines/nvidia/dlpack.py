"""Hand device memory to other libraries without a copy, by DLPack (https://dmlc.github.io/dlpack/latest).

NumPy makes the capsule, of an array that it never reads, and the device is then written into the capsule's structure.
So the memory is owned by NumPy's own reference counting: by the capsule, and by whatever consumes it. It is freed with
the last of them, also where no consumer takes the capsule.
"""

import ctypes
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

CPU, CUDA = 1, 2
_CAPSULE = b"dltensor"  # of DLPack 0.x, which every consumer still takes

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
        free: called with the address once, when neither this object nor a consumer's array uses the memory any more.
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
        """A capsule that a consumer takes over. The array is complete, so no stream has to wait for it."""
        size = math.prod(self.shape) * self.dtype.itemsize
        memory: Any = (ctypes.c_char * size).from_address(self.address)
        memory.owner = self  # which the NumPy array keeps, and the capsule keeps that
        capsule = np.ndarray(self.shape, self.dtype, memory).__dlpack__()
        tensor = _Tensor.from_address(_get_pointer(capsule, _CAPSULE))
        tensor.device_type, tensor.device_index = self._device
        return capsule

    def __del__(self) -> None:
        with suppress(Exception):  # when the program ends, what this needs may be gone
            self._free(self.address)
