"""The weights of a checkpoint that TensorFlow wrote, under the names of the PyTorch model. No TensorFlow is needed.

transformers 4 had TFDPRQuestionEncoder, TFDPRContextEncoder and TFDPRReader, and wrote their weights to `tf_model.h5`,
or to a `model.safetensors` whose metadata says "tf". transformers 5 reads neither. The numbers are the same as
PyTorch's; names differ, and the matrix of a linear layer, its kernel, stands transposed:

    .../question_encoder/bert_model/encoder/layer_._3/output/dense/kernel:0
        question_encoder.bert_model.encoder.layer.3.output.dense.weight
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from dpr_export.exporter.errors import ExportError, cause_of

TENSORFLOW_FILE = "tf_model.h5"
_MODELS = ("question_encoder", "ctx_encoder", "span_predictor")
# What TensorFlow calls the last part of a name; all others, such as bias, have PyTorch's.
_WEIGHTS = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias"}


def is_tensorflow(path: Path) -> bool:
    """Whether TensorFlow wrote a file of weights.

    A file that cannot be read is taken for PyTorch's, and refused by who reads it next.
    """
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors":
        return path.name == TENSORFLOW_FILE
    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get("format") == "tf"
    except (OSError, SafetensorError):
        return False


def read_weights(path: Path, name: str) -> dict[str, torch.Tensor]:
    """Read every weight.

    Args:
        path: a `tf_model.h5`, or a `model.safetensors` that TensorFlow wrote.
        name: what to call the file in an error.

    Returns:
        The weights by their names in the PyTorch model, shaped as there.

    Raises:
        ExportError: h5py is not installed, or the file cannot be read.
    """
    arrays = _in_safetensors if path.suffix == ".safetensors" else _in_hdf5
    weights = {}
    try:
        for tensorflow_name, array in arrays(path):
            if array.dtype.kind != "f":
                raise ValueError(f"{tensorflow_name} is of type {array.dtype}, and no weight")
            if pytorch_name(tensorflow_name) in weights:
                raise ValueError(f"{tensorflow_name} is there twice")
            matrix = array.T if tensorflow_name.split("/")[-1].startswith("kernel") else array
            weights[pytorch_name(tensorflow_name)] = torch.from_numpy(matrix)
    except ModuleNotFoundError:
        raise ExportError(f'{name} is read with h5py: pip install "dpr-export[export]"') from None
    except Exception as error:  # the readers raise whatever a damaged file leads them to
        raise ExportError(f"{name} cannot be loaded: {cause_of(error)}") from None
    return weights


def pytorch_name(name: str) -> str:
    """The name in the PyTorch model of a weight in TensorFlow's.

    Before the model's own name stand others, of classes and of the file's groups, which are left out.

    >>> pytorch_name("ctx_encoder/tfdpr_context_encoder/ctx_encoder/bert_model/encoder/layer_._0/output/dense/bias:0")
    'ctx_encoder.bert_model.encoder.layer.0.output.dense.bias'
    >>> pytorch_name("question_encoder/bert_model/embeddings/word_embeddings/weight:0")
    'question_encoder.bert_model.embeddings.word_embeddings.weight'
    """
    parts = name.removesuffix(":0").split("/")
    first = max((place for place, part in enumerate(parts) if part in _MODELS), default=0)
    *modules, last = parts[first:]
    return ".".join([*modules, _WEIGHTS.get(last, last)]).replace("_._", ".")


def _in_hdf5(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Each dataset with its path in the file, as Keras lays them out: layer/weight's name, which has slashes too.

    A dataset may name another file of this machine to take its numbers from, or declare more than there are: neither is
    read.
    """
    import h5py

    size = path.stat().st_size

    with h5py.File(path, "r") as file:
        names: list[str] = []
        file.visit(names.append)
        for name in names:
            found = file[name]
            if not isinstance(found, h5py.Dataset):
                continue
            if found.external or found.is_virtual:
                raise ValueError(f"{name} takes its numbers from another file")
            if found.nbytes > size:
                raise ValueError(f"{name} has {found.nbytes:,} bytes, and the file has {size:,}")
            yield name, found[()]


def _in_safetensors(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118 (the file is no mapping)
            yield name, file.get_tensor(name)
