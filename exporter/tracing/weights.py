"""Check that a graph contains every weight of the PyTorch model, bit for bit, as it is or transposed.

The parity check reads only a few of the 30,522 rows of the word embeddings. A parameter of zeros may be missing,
because the tracer drops the addition of a single zero.
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


def check_weights(model: torch.nn.Module, graph: Path, but: str | None = None) -> None:
    """Check that a graph contains the weights of a float32 model, except those with `but` in their name.

    Raises:
        ExportError: a weight is missing from the graph, or differs.
    """
    constants = {_hash(numpy_helper.to_array(tensor)) for tensor in onnx.load(graph).graph.initializer}
    for name, tensor in model.named_parameters():
        weight = tensor.detach().numpy()
        if (but and but in name) or name.startswith(_UNUSED) or not weight.any():
            continue
        if _hash(weight) not in constants and _hash(weight.T) not in constants:
            raise ExportError(f"parity check failed: the weight {name} is missing from the graph, or differs")


def _hash(array: NDArray[np.float32]) -> tuple[tuple[int, ...], bytes]:
    return array.shape, hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
