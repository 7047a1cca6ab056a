"""Fuse a graph into ONNX Runtime's own operators, with onnxscript's rewriter: attention, GELU, and on GPUs LayerNorm.

The projections of queries, keys and values stay matrix products, which can be quantized (see int8_dynamic.py). On CPUs
LayerNorm with its residual and GELU with its bias are faster in parts, so what the rewriter fused there is split again.
onnxscript takes a second to import, and is imported at first use.
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from dpr_export.quantization.errors import QuantizationError
from dpr_export.quantization.save_graph import save_graph

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
        _split_fused(fused.graph)
    optimize(fused, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)
    counts = Counter(node.op_type for node in fused.graph if node.domain == "com.microsoft")
    attentions = sum(counts[name] for name in _ATTENTION)
    if attentions != layers:
        raise QuantizationError(f"{source.name} has {layers} layers, but {attentions} attentions were fused")
    save_graph(fused, output)
    return dict(counts)


def _split_fused(graph: "onnx_ir.Graph") -> None:
    """Split the fused operators that are slower than the plain ones."""
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
    """Replace a node: its first output by the last node's, its fourth, the sum before LayerNorm, by the one before."""
    from onnx_ir.convenience import replace_nodes_and_values

    old = [node.outputs[0], *node.outputs[3:]]
    new = [nodes[-1].outputs[0], nodes[-2].outputs[0]][: len(old)]
    replace_nodes_and_values(graph, node, [node], nodes, old, new)
