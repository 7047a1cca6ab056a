"""Half precision for GPUs: fp16 inside, float32 inputs and outputs.

fp16 ends at 65,504, and BERT has activations that come near it or pass it. So three things stay out of its way:

- LayerNorm, whose squares overflow first, is computed in float32;
- the mask is a finite number: -inf would make a fully padded row NaN. A score that is added to it must not overflow,
  and should be lost in its rounding, as in float32; at three quarters of the end, scores up to 16 are;
- whatever was seen to come within a factor of four of the end, on real texts, stays in float32 with all that reads it.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from dpr_export.quantization.errors import QuantizationError
from dpr_export.runtime.engines.session import Feeds

LARGEST = float(np.finfo(np.float16).max)
MASK = -0.75 * LARGEST
HEADROOM = 4.0
_FLOAT32_OPERATORS = (*DEFAULT_OP_BLOCK_LIST, "LayerNormalization", "SkipLayerNormalization")


def to_fp16(source: Path, output: Path, calls: Sequence[Feeds]) -> tuple[str, ...]:
    """Convert a graph of float32 to fp16.

    Args:
        source: the .onnx file, of standard or of ONNX Runtime's own operators.
        output: the .onnx file to write.
        calls: inputs to measure activations on, int64 (1, sequence), without padding, whose mask would be measured too.

    Returns:
        The nodes that stay in float32 because their activations are too large, by name.

    Raises:
        QuantizationError: a weight is beyond fp16.
    """
    model = onnx.load(source)
    _make_mask_finite(model)
    large = too_large(model, calls)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights below fp16's least number become that number, each with a warning
        converted = convert_float_to_float16(
            model,
            min_positive_val=float(np.finfo(np.float16).smallest_subnormal),
            max_finite_val=LARGEST,
            keep_io_types=True,
            op_block_list=list(_FLOAT32_OPERATORS),
            node_block_list=list(large),
        )
    onnx.save(in_order(converted), output)
    return large


def in_order(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put each node behind those that make its inputs, once: the converter appends its casts, some of them twice."""
    _keep_float32_between(model)
    waiting = {node.output[0]: node for node in model.graph.node}
    known = {"", *(value.name for value in (*model.graph.input, *model.graph.initializer))}
    ordered: list[onnx.NodeProto] = []
    while waiting:
        ready = [name for name, node in waiting.items() if known.issuperset(node.input)]
        if not ready:
            raise QuantizationError(f"{len(waiting)} nodes of the fp16 graph have inputs that nothing makes")
        for name in ready:
            node = waiting.pop(name)
            ordered.append(node)
            known.update(node.output)
    del model.graph.node[:]
    model.graph.node.extend(ordered)
    return model


def _keep_float32_between(model: onnx.ModelProto) -> None:
    """Between two nodes that stay in float32, take out the casts to fp16 and back, in which large numbers end."""
    halved = {node.output[0]: node.input[0] for node in model.graph.node if node.name.endswith("_cast_to_fp16_node")}
    whole = {
        node.output[0]: halved[node.input[0]]
        for node in model.graph.node
        if node.name.endswith("_cast_to_fp32_node") and node.input[0] in halved
    }
    for node in model.graph.node:
        node.input[:] = [whole.get(name, name) for name in node.input]


def _make_mask_finite(model: onnx.ModelProto) -> None:
    """Put `MASK` in the place of float32's least number, and refuse any other constant that fp16 cannot hold."""
    least = float(np.finfo(np.float32).min)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32:
            continue
        if values.size == 1 and values.item() == least:
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, MASK), tensor.name))
        elif np.abs(values).max(initial=0.0) > LARGEST:
            raise QuantizationError(
                f"the weight {tensor.name} holds {np.abs(values).max():.3g}, and fp16 ends at {LARGEST:,.0f}"
            )


def too_large(model: onnx.ModelProto, calls: Sequence[Feeds]) -> tuple[str, ...]:
    """The nodes that read or write a value above a quarter of fp16's largest, on any of the calls."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output if name]
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    large = {
        name
        for feeds in calls
        for name, value in zip(names, session.run(names, feeds), strict=True)
        if value.dtype == np.float32 and np.abs(value).max(initial=0.0) > LARGEST / HEADROOM
    }
    return tuple(node.name for node in model.graph.node if large & {*node.input, *node.output})
