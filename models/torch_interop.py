"""The one file that knows torch tensors.

They are recognised through `sys.modules`: whoever passes a tensor has imported torch already, so nothing here has
to. Only `to_torch`, which must be asked for, imports it. The type of a tensor is `Any` throughout, because torch
may be missing where this is read.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CUDA_DEVICES = (2, 13)  # DLPack's numbers of CUDA's memory, and of its managed memory


def is_torch(value: object) -> bool:
    """Whether `value` is a torch tensor; never imports torch.

    >>> is_torch(np.zeros(2))
    False
    """
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    return tensor is not None and isinstance(value, tensor)


def to_numpy(value: Any) -> NDArray[Any]:
    """Return `value`, a torch tensor, an array or nested lists, as a NumPy array of the same shape.

    A tensor leaves its device and its graph, and an array that DLPack gives from a GPU is copied from there. NumPy has
    no bfloat16, so that becomes float32.

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
    """Whether `value` is a tensor, or an array of a library that has DLPack, on an NVIDIA GPU.

    >>> is_on_gpu(np.zeros(2)), is_on_gpu([1, 2])
    (False, False)
    """
    if is_torch(value):
        return bool(value.is_cuda)
    return hasattr(value, "__dlpack_device__") and int(value.__dlpack_device__()[0]) in _CUDA_DEVICES


def import_dlpack(array: Any, shape: tuple[int, ...], example: Any) -> Any:
    """Take over what DLPack gives as what `example` is; it stays on its device.

    Args:
        array: what has `__dlpack__`.
        shape: the corner of it that is meant.
        example: a torch tensor, on whose device the result is, or an array of a library of the array API standard.
    """
    corner = tuple(slice(size) for size in shape)
    if is_torch(example):
        return sys.modules["torch"].from_dlpack(array)[corner].contiguous().to(example.device)
    return example.__array_namespace__().from_dlpack(array)[corner]


def to_lists(value: Any) -> Any:
    """Return tensors and arrays, also those within lists, as (nested) lists of Python numbers.

    >>> to_lists([np.array([1, 2]), [3]])
    [[1, 2], [3]]
    """
    if isinstance(value, list | tuple):
        return [item if isinstance(item, int) else to_lists(item) for item in value]
    return to_numpy(value).tolist()


def to_torch(array: NDArray[Any]) -> Any:
    """Return the array as a torch tensor on the CPU, sharing memory where torch allows it.

    Raises:
        ImportError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError('Torch tensors need PyTorch: pip install "torch>=2.9"') from error
    return torch.from_numpy(array if array.flags.writeable and array.flags.c_contiguous else array.copy())


def convert_like(array: NDArray[Any], example: Any) -> Any:
    """Return the array as what `example` is: a torch tensor on its device, or the array itself.

    >>> convert_like(np.ones(2), np.zeros(3))
    array([1., 1.])
    """
    return to_torch(array).to(example.device) if is_torch(example) else array
