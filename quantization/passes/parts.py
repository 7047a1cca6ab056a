"""The parts of a graph that may stay in float32: the heads, and each layer's attention and feed-forward.

The exporter names every node by the module it comes from, `encoder.layer.1.output.dense/MatMul`; a part is read off
that name.
"""

import re

import onnx

HEADS = "heads"
PRODUCTS = ("MatMul", "Gemm")
_LAYER = re.compile(r"\.layer\.(\d+)\.(attention|)")


def parts(model: onnx.ModelProto) -> dict[str, list[str]]:
    """The names of the matrix products of each part: "heads", "layer 0 attention", "layer 0 feed-forward", ..."""
    found: dict[str, list[str]] = {}
    for node in model.graph.node:
        if node.op_type in PRODUCTS:
            found.setdefault(part_of(node.name), []).append(node.name)
    return found


def part_of(name: str) -> str:
    """The part that a node belongs to, by its name.

    >>> part_of("encoder.layer.1.attention.self.key/MatMul"), part_of("encoder.layer.1.output.dense/MatMul")
    ('layer 1 attention', 'layer 1 feed-forward')
    >>> part_of("predictor.qa_outputs/MatMul")
    'heads'
    """
    place = _LAYER.search(name)
    if place is None:
        return HEADS
    return f"layer {place[1]} {place[2] or 'feed-forward'}"
