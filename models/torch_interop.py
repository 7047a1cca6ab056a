"""Convert torch tensors and other arrays to NumPy, and back.

Tensors are recognised through `sys.modules`, because a caller with a tensor has imported torch already. They are typed
`Any`, because torch may not be installed.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CUDA_DEVICES = (2, 13)  # DLPack's device types for CUDA memory and CUDA managed memory


def is_torch(value: object) -> bool:
    """Return whether `value` is a torch tensor, without importing torch.

    >>> is_torch(np.zeros(2))
    False
    """
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    return tensor is not None and isinstance(value, tensor)


def to_numpy(value: Any) -> NDArray[Any]:
    """Convert a torch tensor, an array or nested lists to a NumPy array of the same shape.

    A tensor is detached and copied to the CPU, and so is another library's array on a GPU. bfloat16, which NumPy lacks,
    becomes float32.

    >>> to_numpy([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    if not is_torch(value):
        return np.from_dlpack(value, device="cpu", copy=True) if is_on_gpu(value) else np.asarray(value)
    value = value.detach().cpu()
    if value.dtype == sys.modules["torch"].bfloat16:
        value = value.float()
    array: NDArray[Any] = value.numpy()
    return array


def is_on_gpu(value: Any) -> bool:
    """Return whether `value` is a tensor, or an array of a library with DLPack, on an NVIDIA GPU.

    >>> is_on_gpu(np.zeros(2)), is_on_gpu([1, 2])
    (False, False)
    """
    if is_torch(value):
        return bool(value.is_cuda)
    return hasattr(value, "__dlpack_device__") and int(value.__dlpack_device__()[0]) in _CUDA_DEVICES


def import_dlpack(array: Any, shape: tuple[int, ...], example: Any) -> Any:
    """Import an array through DLPack into the library of `example`, without a copy to the CPU.

    Args:
        array: an object with `__dlpack__`.
        shape: the part of it to return, from the first element of each axis.
        example: a torch tensor, whose device the result gets, or an array of a library with the array API standard.
    """
    corner = tuple(slice(size) for size in shape)
    if is_torch(example):
        return sys.modules["torch"].from_dlpack(array)[corner].contiguous().to(example.device)
    return example.__array_namespace__().from_dlpack(array)[corner]


def to_lists(value: Any) -> Any:
    """Convert tensors and arrays, also inside lists, to (nested) lists of Python numbers.

    >>> to_lists([np.array([1, 2]), [3]])
    [[1, 2], [3]]
    """
    if isinstance(value, list | tuple):
        return [item if isinstance(item, int) else to_lists(item) for item in value]
    return to_numpy(value).tolist()


def to_torch(array: NDArray[Any]) -> Any:
    """Convert an array to a torch tensor on the CPU, which shares its memory if torch allows that.

    Raises:
        ImportError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError('Torch tensors need PyTorch: pip install "torch>=2.9"') from error
    return torch.from_numpy(array if array.flags.writeable and array.flags.c_contiguous else array.copy())


def convert_like(array: NDArray[Any], example: Any) -> Any:
    """Convert an array to a torch tensor on the device of `example` if that is one; else return the array.

    >>> convert_like(np.ones(2), np.zeros(3))
    array([1., 1.])
    """
    return to_torch(array).to(example.device) if is_torch(example) else array
