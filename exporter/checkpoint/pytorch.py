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
        if not all(isinstance(weight, torch.Tensor) for weight in weights.values()):
            raise ValueError("it holds something other than weights")
        return dict(weights)
    except Exception as error:  # the readers raise whatever a damaged file leads them to
        raise ExportError(f"{name} cannot be loaded: {cause_of(error)}") from None
