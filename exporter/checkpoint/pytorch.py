"""Read the weights that PyTorch's programs write: safetensors, or a pickle of tensors (`.bin`). No code of it runs."""

import zipfile
from pathlib import Path

import torch

from dpr_export.exporter.errors import ExportError, cause_of


def read_pytorch_weights(path: Path, name: str) -> dict[str, torch.Tensor]:
    """Read every weight of a file; `name` stands in errors.

    Raises:
        ExportError: the file cannot be read, or holds something other than weights.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        for key, weight in weights.items():
            if not (isinstance(key, str) and isinstance(weight, torch.Tensor) and is_plain(weight)):
                raise ValueError(f"{key!r} in it is not a weight")
        return dict(weights)
    except Exception as error:  # the readers raise whatever a damaged file leads them to
        raise ExportError(f"{name} cannot be loaded: {cause_of(error)}") from None


def is_plain(weight: torch.Tensor) -> bool:
    """Whether a tensor is dense and real, with every value in the file: a view could repeat a few endlessly."""
    dense = weight.layout is torch.strided and weight.device.type == "cpu" and not weight.is_nested
    if not dense or weight.is_complex() or weight.is_quantized:
        return False
    return weight.numel() * weight.element_size() <= weight.untyped_storage().nbytes()
