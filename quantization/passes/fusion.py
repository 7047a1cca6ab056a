"""Fuse a graph with ONNX Runtime's own operators: attention, GELU, and on GPUs LayerNorm with its residual.

onnxscript's rewriter knows the shape of graph that `torch.onnx.export` makes today; ONNX Runtime's own optimizer for
BERT finds no attention in it. The projections of queries, keys and values stay the matrix products they were: fused
into one Attention operator they could not be quantized without losing the mask (see int8_dynamic.py).

On CPUs LayerNorm with its residual, and GELU with its bias, are slower as one operator than apart: the sum and the
LayerNorm are vector code, the two in one are not, and a bias costs nothing in the product before it. The rewriter joins
them all the same, so they are taken apart again; the session keeps ONNX Runtime from joining them once more.

The result is for ONNX Runtime alone: other engines do not know its operators. onnxscript takes a second to import, so
it is imported when it is needed.
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from dpr_export.quantization.errors import QuantizationError

if TYPE_CHECKING:
    import onnx_ir

_ATTENTION = ("MultiHeadAttention", "Attention")
_ANY_SIZE = 1 << 40


def fuse(source: Path, output: Path, *, device: str = "cpu") -> dict[str, int]:
    """Write the fused graph.

    Args:
        source: the .onnx file of standard operators.
        output: the .onnx file to write.
        device: where it will run: "cpu" or "cuda".

    Returns:
        How many of each of ONNX Runtime's own operators the result has, by name.

    Raises:
        QuantizationError: fewer attentions were fused than the graph has layers.
    """
    import onnx_ir
    from onnxscript.optimizer import optimize
    from onnxscript.rewriter.ort_fusions import optimize_for_ort

    model = onnx_ir.load(source)
    layers = sum(node.op_type == "Softmax" for node in model.graph)
    fused, _ = optimize_for_ort(model)
    if device == "cpu":
        _apart(fused.graph)
    optimize(fused, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)
    counts = Counter(node.op_type for node in fused.graph if node.domain == "com.microsoft")
    attentions = sum(counts[name] for name in _ATTENTION)
    if attentions != layers:
        raise QuantizationError(f"{attentions} attentions were fused in {source.name}, and it has {layers} layers")
    onnx_ir.save(fused, output)
    return dict(counts)


def _apart(graph: "onnx_ir.Graph") -> None:
    """Put the plain operators in the place of those that are slower as one."""
    for node in list(graph):
        if node.op_type == "SkipLayerNormalization":
            _replace(graph, node, _sum_and_layer_norm(node))
        elif node.op_type == "BiasGelu":
            _replace(graph, node, _sum_and_gelu(node))


def _sum_and_layer_norm(node: "onnx_ir.Node") -> "list[onnx_ir.Node]":
    import onnx_ir

    inputs, residual, weight, bias, *earlier = node.inputs
    nodes = []
    if earlier and earlier[0] is not None:  # the bias of the product before it
        nodes.append(onnx_ir.node("Add", [inputs, earlier[0]], name=f"{node.name}/bias"))
        inputs = nodes[0].outputs[0]
    nodes.append(onnx_ir.node("Add", [inputs, residual], name=f"{node.name}/residual"))
    attributes = {"axis": -1, "epsilon": node.attributes["epsilon"].as_float()}
    total = nodes[-1].outputs[0]
    return [*nodes, onnx_ir.node("LayerNormalization", [total, weight, bias], attributes, name=node.name)]


def _sum_and_gelu(node: "onnx_ir.Node") -> "list[onnx_ir.Node]":
    import onnx_ir

    total = onnx_ir.node("Add", node.inputs, name=f"{node.name}/bias")
    return [total, onnx_ir.node("Gelu", total.outputs, domain="com.microsoft", name=node.name)]


def _replace(graph: "onnx_ir.Graph", node: "onnx_ir.Node", nodes: "list[onnx_ir.Node]") -> None:
    """The last node's output takes the place of the node's; a fourth output is the sum before the LayerNorm."""
    from onnx_ir.convenience import replace_nodes_and_values

    old = [node.outputs[0], *node.outputs[3:]]
    new = [nodes[-1].outputs[0], nodes[-2].outputs[0]][: len(old)]
    replace_nodes_and_values(graph, node, [node], nodes, old, new)
