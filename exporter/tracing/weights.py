"""Show that a graph holds the original's weights, every one of them, bit for bit.

The grid of `prove.py` compares what both compute, but a grid reads a few of the 30,522 rows of a vocabulary. Here each
parameter of the original must stand among the graph's constants, as it is or transposed, by the hash of its bytes.
"""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from dpr_export.exporter.errors import ExportError

_UNREAD = "span_predictor.encoder.encode_proj."  # a reader's heads read what stands before its projection


def check_weights(model: torch.nn.Module, graph: Path, but: str | None = None) -> int:
    """Count the original's weights in a graph.

    Args:
        model: the original, in float32.
        graph: the .onnx file.
        but: what the name of a weight that the graph does without holds; None: it has them all.

    Returns:
        How many parameters were found.

    Raises:
        ExportError: one is not in the graph; the message names it.
    """
    held = {_hash(numpy_helper.to_array(tensor)) for tensor in onnx.load(graph).graph.initializer}
    parameters = {
        name: tensor.detach().numpy()
        for name, tensor in model.named_parameters()
        if not (but and but in name) and not name.startswith(_UNREAD)
    }
    for name, weight in parameters.items():
        if _hash(weight) not in held and _hash(weight.T) not in held:
            raise ExportError(f"not proved: the weight {name} is not in the graph as it is in the original")
    return len(parameters)


def _hash(array: NDArray[np.float32]) -> tuple[tuple[int, ...], bytes]:
    return array.shape, hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
