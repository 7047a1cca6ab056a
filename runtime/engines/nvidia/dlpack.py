"""Device memory that other libraries take over without a copy: DLPack (https://dmlc.github.io/dlpack/latest).

The structures are those of DLPack 0.x, `DLManagedTensor`, which every consumer still takes. The memory lives as long as
any of the consumers' arrays, and is freed with the last; if a consumer refuses it, with the next that is given away.
"""

import ctypes
import math
import sys
from collections.abc import Callable
from contextlib import suppress
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
_Managed._fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))

_api = ctypes.pythonapi
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_api.PyCapsule_IsValid.restype = ctypes.c_int
_api.PyCapsule_IsValid.argtypes = (ctypes.py_object, ctypes.c_char_p)

# What consumers hold, by the address of its structure, with the capsule that gave it away. A capsule has no destructor:
# one in Python cannot run while an exception is under way, which is when a consumer refuses a capsule.
_held: dict[int, tuple[_Managed, "DeviceArray", Any]] = {}


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
        _forget_refused()
        capsule = _api.PyCapsule_New(place, _CAPSULE, None)
        _held[place] = (managed, self, capsule)
        return capsule

    def __del__(self) -> None:
        with suppress(Exception):  # when the program ends, what this needs may be gone
            self._free(self.address)


def _forget_refused() -> None:
    """Let go of what was given away in capsules that nobody took and nobody has any longer."""
    ours = 3  # the tuple's reference, the name's here, and the argument's
    for place in list(_held):
        _, _, capsule = _held[place]
        if _api.PyCapsule_IsValid(capsule, _CAPSULE) and sys.getrefcount(capsule) <= ours:
            del _held[place]


def _delete(managed: Any, held: Any = _held, address_of: Any = ctypes.addressof) -> None:
    held.pop(address_of(managed.contents), None)  # the module itself may be gone when the program ends


_DELETER = _Deleter(_delete)
_api.Py_IncRef(ctypes.py_object(_DELETER))  # consumers may call it after this module is gone
