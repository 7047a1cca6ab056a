"""Check that a graph contains every weight of the PyTorch model, bit for bit, where the weight's own module reads it.

The parity check reads only a few of the 30,522 rows of the word embeddings. Nodes are named after their modules, and
each weight is looked for, as it is or transposed, among the constants that its module's nodes read. A weight may be
absent only where that provably changes nothing: torch.onnx drops a linear layer's bias of zeros, for instance, and then
the layer's nodes read its matrix and no other constant.
"""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir
from numpy.typing import NDArray
from torch import nn

from dpr_export.exporter.errors import ExportError
from dpr_export.exporter.tracing.modules import graph_module
from dpr_export.exporter.tracing.reference_outputs import WORD_EMBEDDINGS
from dpr_export.models.kinds import EMBEDS, IDS
from dpr_export.models.optional_outputs import NO_OPTIONAL_OUTPUTS

ZEROS = "zeros, whose addition torch.onnx dropped"
UNREAD = "not read: the heads read the encoder's output before its projection"
REPLACED = "not read: inputs_embeds take the place of ids"
_PROJECTION = "span_predictor.encoder.encode_proj."

_Reads = Counter[str]  # how often each constant is read, by hash


def check_weights(model: nn.Module, graph: Path, tokens: str = IDS) -> dict[str, str]:
    """Check that a graph contains the weights of a float32 model.

    Args:
        model: the model of transformers.
        graph: the .onnx file, as `trace` wrote it.
        tokens: the graph's first input.

    Returns:
        The weights that are absent without effect, by name, each with the reason.

    Raises:
        ExportError: another weight is missing from the graph, or differs.
    """
    reads = _find_reads(graph)
    aliases: dict[nn.Module, list[str]] = {}  # the names of each module, as nodes may have them
    for alias, module in graph_module(model, NO_OPTIONAL_OUTPUTS).named_modules(remove_duplicate=False):
        aliases.setdefault(module, []).append(alias)
    absent: dict[str, str] = {}
    for prefix, module in model.named_modules():
        rest: _Reads = Counter()
        for alias in aliases.get(module, ()):
            rest.update(reads.get(alias, {}))
        weights = dict(module.named_parameters(prefix, recurse=False))
        lacking = {name: weight for name, weight in weights.items() if not _take(weight, rest)}
        for name in lacking:
            if name.startswith(_PROJECTION):
                absent[name] = UNREAD
            elif tokens == EMBEDS and WORD_EMBEDDINGS in name:
                absent[name] = REPLACED
            elif _is_dropped_bias(module, lacking, rest):
                absent[name] = ZEROS
            else:
                raise ExportError(f"parity check failed: the weight {name} is missing from the graph, or differs")
    return absent


def _is_dropped_bias(module: nn.Module, lacking: dict[str, nn.Parameter], rest: _Reads) -> bool:
    """Whether what a module lacks is a linear layer's bias of zeros, and its nodes read nothing in its place."""
    (first, *others) = lacking.values()
    return isinstance(module, nn.Linear) and first is module.bias and not (others or first.any() or rest.total())


def _take(weight: nn.Parameter, reads: _Reads) -> bool:
    """Remove one read of a weight, as it is or transposed, from the reads of its module; say whether there was one."""
    values = weight.detach().numpy()
    for array in (values, values.T):
        key = _hash(array)
        if reads[key]:
            reads[key] -= 1
            return True
    return False


def _find_reads(graph: Path) -> dict[str, _Reads]:
    """For each module, by its name in those of its nodes, the float32 arrays that they read; numbers are left out."""
    hashes: dict[str, str] = {}
    reads: dict[str, _Reads] = {}
    for node in onnx_ir.load(graph).graph:
        for value in node.inputs:
            constant = value.const_value if value is not None else None
            if constant is None or constant.dtype != onnx_ir.DataType.FLOAT or not len(constant.shape):
                continue
            name = constant.name or ""
            hashes[name] = hashes.get(name) or _hash(constant.numpy())
            reads.setdefault(str(node.name).rpartition("/")[0], Counter())[hashes[name]] += 1
    return reads


def _hash(array: NDArray[np.float32]) -> str:
    digest = hashlib.sha256(repr(array.shape).encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
