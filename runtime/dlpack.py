"""Device memory that other libraries take over without a copy: DLPack (https://dmlc.github.io/dlpack/latest).

The structures are those of DLPack 0.x, `DLManagedTensor`, which every consumer still takes. The memory lives as long as
any of the consumers' arrays, and is freed with the last.
"""

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np

CPU, CUDA = 1, 2
_FLOAT, _BITS = 2, 32
_CAPSULE = b"dltensor"


class _Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("index", ctypes.c_int32))


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_Managed._fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))

_api = ctypes.pythonapi
_api.PyCapsule_New.restype, _api.PyCapsule_New.argtypes = (
    ctypes.py_object,
    (ctypes.c_void_p, ctypes.c_char_p, _Destructor),
)
_api.PyCapsule_IsValid.restype, _api.PyCapsule_IsValid.argtypes = ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p)
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p
_api.PyCapsule_GetPointer.argtypes = (ctypes.c_void_p, ctypes.c_char_p)

# What consumers hold, by the address of its structure: ctypes would free it otherwise.
_held: dict[int, tuple[_Managed, "DeviceArray"]] = {}


class DeviceArray:
    """A dense float32 array on a device.

    Args:
        address: where it begins.
        shape: its shape.
        device: DLPack's type and number of the device: `(CUDA, 0)`.
        free: called with the address when nobody uses the array any longer.
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
        """A capsule that gives the array away. It is whole, so there is nothing to wait for on any stream."""
        rank = len(self.shape)
        sizes = (ctypes.c_int64 * rank)(*self.shape)
        strides = (ctypes.c_int64 * rank)(*(math.prod(self.shape[axis + 1 :]) for axis in range(rank)))
        numbers = _DataType(_FLOAT, _BITS, 1)
        tensor = _Tensor(self.address, _Device(*self._device), rank, numbers, sizes, strides, 0)
        managed = _Managed(tensor, None, _DELETER)
        place = ctypes.addressof(managed)
        _held[place] = (managed, self)
        return _api.PyCapsule_New(place, _CAPSULE, _DESTRUCTOR)

    def __del__(self) -> None:
        self._free(self.address)


def _delete(managed: Any) -> None:
    _held.pop(ctypes.addressof(managed.contents), None)


def _destroy(capsule: int) -> None:
    """A capsule that nobody took holds the array still."""
    if _api.PyCapsule_IsValid(capsule, _CAPSULE):
        _held.pop(_api.PyCapsule_GetPointer(capsule, _CAPSULE), None)


_DELETER = _Deleter(_delete)
_DESTRUCTOR = _Destructor(_destroy)
