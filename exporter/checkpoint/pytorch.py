"""Read the weights that transformers wrote for PyTorch: `model.safetensors` or `pytorch_model.bin`.

Two old forms are renamed as transformers does it: LayerNorm's gamma and beta, and names without the model's prefix.
"""

import zipfile
from pathlib import Path

import torch

from dpr_export.exporter.errors import ExportError, cause_of
from dpr_export.models.kinds import Kind

_RENAMED = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def read_pytorch_weights(path: Path, name: str, kind: Kind) -> dict[str, torch.Tensor]:
    """Read every weight, by its name in the transformers class; `name` stands in errors. No code of a pickle runs.

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
    prefix = f"{kind.encoder.split('.')[0]}."
    if not any(key.startswith(prefix) for key in weights):
        weights = {prefix + key: weight for key, weight in weights.items()}
    for old, new in _RENAMED.items():
        weights = {key.replace(old, new): weight for key, weight in weights.items()}
    return weights
