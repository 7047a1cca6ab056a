"""Divide a graph's matrix products into parts that may stay in float32: the heads, each layer's attention and the rest.

The exporter names every node after its module, as `encoder.layer.1.output.dense/MatMul`, and the name tells the part.
"""

import re

import onnx

HEADS = "heads"
PRODUCTS = ("MatMul", "Gemm")
_LAYER = re.compile(r"\.layer\.(\d+)\.(attention|)")


def find_parts(model: onnx.ModelProto) -> dict[str, list[str]]:
    """The names of the matrix products of each part: "heads", "layer 0 attention", "layer 0 feed-forward", ..."""
    found: dict[str, list[str]] = {}
    for node in model.graph.node:
        if node.op_type in PRODUCTS:
            found.setdefault(name_part(node.name), []).append(node.name)
    return found


def name_part(name: str) -> str:
    """Tell the part of a node from its name.

    >>> name_part("encoder.layer.1.attention.self.key/MatMul"), name_part("encoder.layer.1.output.dense/MatMul")
    ('layer 1 attention', 'layer 1 feed-forward')
    >>> name_part("predictor.qa_outputs/MatMul")
    'heads'
    """
    match = _LAYER.search(name)
    if match is None:
        return HEADS
    return f"layer {match[1]} {match[2] or 'feed-forward'}"
