"""Check that a graph contains every weight of the PyTorch model, bit for bit.

The parity check compares outputs, but its inputs use only a few of the 30,522 rows of the word embeddings. So each
parameter is looked for among the graph's constants, as it is or transposed, by the hash of its bytes. A parameter of
zeros alone may be missing: the tracer drops the addition of a single zero, and the parity check covers the rest.
"""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from dpr_export.exporter.errors import ExportError

_UNUSED = "span_predictor.encoder.encode_proj."  # a reader's heads read the encoder's output before its projection


def check_weights(model: torch.nn.Module, graph: Path, but: str | None = None) -> int:
    """Check that a graph contains a model's weights.

    Args:
        model: the PyTorch model, in float32.
        graph: the .onnx file.
        but: a part of the names of weights that the graph does not need; None: it needs all.

    Returns:
        The number of parameters that were compared.

    Raises:
        ExportError: a weight is missing from the graph, or differs.
    """
    constants = {_hash(numpy_helper.to_array(tensor)) for tensor in onnx.load(graph).graph.initializer}
    parameters = {
        name: tensor.detach().numpy()
        for name, tensor in model.named_parameters()
        if not (but and but in name) and not name.startswith(_UNUSED)
    }
    for name, weight in parameters.items():
        if weight.any() and _hash(weight) not in constants and _hash(weight.T) not in constants:
            raise ExportError(f"parity check failed: the weight {name} is missing from the graph, or differs")
    return len(parameters)


def _hash(array: NDArray[np.float32]) -> tuple[tuple[int, ...], bytes]:
    return array.shape, hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
