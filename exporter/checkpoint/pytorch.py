"""Read the weights that transformers wrote for PyTorch: `model.safetensors` or `pytorch_model.bin`.

Two old forms are renamed as transformers does it: LayerNorm's gamma and beta, and names without the model's prefix.
"""

import zipfile
from pathlib import Path

import torch
import transformers

from dpr_export.exporter.errors import ExportError, cause_of
from dpr_export.models.kinds import Kind

_RENAMED = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def read_pytorch_weights(path: Path, name: str, kind: Kind) -> dict[str, torch.Tensor]:
    """Read every weight.

    Args:
        path: a `model.safetensors` or `pytorch_model.bin`. A pickle is read for its weights only: none of its code
            runs.
        name: what to call the file in an error.
        kind: the kind of model.

    Returns:
        The weights by their names in the transformers class.

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
    except Exception as error:  # the readers raise whatever a damaged file leads them to
        raise ExportError(f"{name} cannot be loaded: {cause_of(error)}") from None
    prefix = f"{getattr(transformers, kind.architecture).base_model_prefix}."
    if not any(key.startswith(prefix) for key in weights):
        weights = {prefix + key: weight for key, weight in weights.items()}
    return {_rename(key): weight for key, weight in weights.items()}


def _rename(key: str) -> str:
    for old, new in _RENAMED.items():
        key = key.replace(old, new)
    return key
