"""Read the `tf_model.h5` or `model.safetensors` that transformers 4 wrote with TensorFlow, without TensorFlow.

The values are the same as in PyTorch, but names differ, and the matrix of a linear layer (its kernel) is transposed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from dpr_export.exporter.errors import ExportError, cause_of

_MODELS = ("question_encoder", "ctx_encoder", "span_predictor")
# The last part of a name in TensorFlow and in PyTorch, where they differ.
_WEIGHTS = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias"}


def is_tensorflow(path: Path) -> bool:
    """Whether TensorFlow wrote a file of weights; False for a damaged file, which the reader for PyTorch refuses."""
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors":
        return path.suffix == ".h5"
    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get("format") == "tf"
    except (OSError, SafetensorError):
        return False


def read_tensorflow_weights(path: Path, name: str) -> dict[str, torch.Tensor]:
    """Read every weight, by its name and in its shape in the transformers class; `name` stands in errors.

    Raises:
        ExportError: h5py is not installed, or the file cannot be read.
    """
    arrays_of = _safetensors_arrays if path.suffix == ".safetensors" else _hdf5_arrays
    weights = {}
    try:
        for tensorflow_name, array in arrays_of(path):
            if array.dtype.kind != "f":
                raise ValueError(f"{tensorflow_name} is of type {array.dtype}, not floating point")
            if pytorch_name(tensorflow_name) in weights:
                raise ValueError(f"{tensorflow_name} occurs twice")
            matrix = array.T if tensorflow_name.split("/")[-1].startswith("kernel") else array
            weights[pytorch_name(tensorflow_name)] = torch.from_numpy(matrix)
    except ModuleNotFoundError:
        raise ExportError(f'{name} is read with h5py: pip install "dpr-export[export]"') from None
    except Exception as error:  # the readers raise whatever a damaged file leads them to
        raise ExportError(f"{name} cannot be loaded: {cause_of(error)}") from None
    return weights


def pytorch_name(name: str) -> str:
    """Translate the name of a weight to PyTorch, without the names of classes and groups before the model's own.

    >>> pytorch_name("ctx_encoder/tfdpr_context_encoder/ctx_encoder/bert_model/encoder/layer_._0/output/dense/bias:0")
    'ctx_encoder.bert_model.encoder.layer.0.output.dense.bias'
    >>> pytorch_name("question_encoder/bert_model/embeddings/word_embeddings/weight:0")
    'question_encoder.bert_model.embeddings.word_embeddings.weight'
    """
    parts = name.removesuffix(":0").split("/")
    first = max((index for index, part in enumerate(parts) if part in _MODELS), default=0)
    *modules, last = parts[first:]
    return ".".join([*modules, _WEIGHTS.get(last, last)]).replace("_._", ".")


def _hdf5_arrays(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield each dataset of a Keras file with its path: the layer, a slash, and the weight's name.

    A dataset that takes its values from another file of this machine, or declares more values than the file has, is
    refused.
    """
    import h5py

    size = path.stat().st_size
    with h5py.File(path, "r") as file:
        names: list[str] = []
        file.visit(names.append)
        for name in names:
            dataset = file[name]
            if not isinstance(dataset, h5py.Dataset):
                continue
            if dataset.external or dataset.is_virtual:
                raise ValueError(f"{name} takes its values from another file")
            if dataset.nbytes > size:
                raise ValueError(f"{name} has {dataset.nbytes:,} bytes, but the file only {size:,}")
            yield name, dataset[()]


def _safetensors_arrays(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118 (the file is not a mapping)
            yield name, file.get_tensor(name)
