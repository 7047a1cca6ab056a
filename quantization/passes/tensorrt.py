"""Check that TensorRT can build a graph, with errors that say what to change; and prepare a quantized graph for fp16.

TensorRT computes in the graph's types. So the scales of quantizers are fp16 where the numbers around them are, which
ONNX allows from opset 19 on.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, version_converter

from dpr_export.quantization.errors import QuantizationError
from dpr_export.quantization.save_graph import save_graph

_OPSET = 19
_LEAST_SCALE = float(np.finfo(np.float16).smallest_normal)
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
_INTEGER_OPERATORS = ("ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul")


def check_for_tensorrt(graph: Path) -> None:
    """Check a graph for what TensorRT refuses.

    Raises:
        QuantizationError: TensorRT lacks an operator, such as those that are not standard ONNX; or a quantizer is not
            symmetric, or not int8.
    """
    model = onnx.load(graph)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise QuantizationError(
                f"TensorRT has no operator {node.op_type} of {node.domain}, which {graph.name} has at {node.name}"
            )
        if node.op_type in _INTEGER_OPERATORS:
            raise QuantizationError(
                f"TensorRT has no operator {node.op_type}, which {graph.name} has at {node.name}: "
                "it takes QuantizeLinear and DequantizeLinear around products of floats"
            )
        if node.op_type in _QUANTIZERS:
            zero = constants.get(node.input[2]) if len(node.input) > 2 else None
            if zero is None or zero.data_type != onnx.TensorProto.INT8:
                raise QuantizationError(f"TensorRT quantizes to int8 alone, and the quantizer {node.name} does not")
            points = numpy_helper.to_array(zero)
            if points.any():
                found = points[points != 0][0]
                raise QuantizationError(
                    f"TensorRT takes symmetric quantizers, and {node.name} has a zero point of {found}"
                )


def raise_small_scales(graph: Path) -> None:
    """Raise the opset and the smallest scales of a quantized graph in place, so that it can be converted to fp16.

    A column of weights that are almost zero can have a scale below fp16's smallest normal number. The scale becomes
    that number, and the weights are quantized again.
    """
    model = onnx.load(graph)
    if next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")) < _OPSET:
        model = version_converter.convert_version(model, _OPSET)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in _QUANTIZERS:
            continue
        scale = numpy_helper.to_array(constants[node.input[1]])
        if (scale >= _LEAST_SCALE).all():
            continue
        least = np.maximum(scale, np.float32(_LEAST_SCALE))
        if weights := constants.get(node.input[0]):
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
            values = numpy_helper.to_array(weights)
            shape = [-1 if dimension == axis % values.ndim else 1 for dimension in range(values.ndim)]
            ratio = (scale / least).reshape(shape) if scale.ndim else scale / least
            weights.CopyFrom(numpy_helper.from_array(np.round(values * ratio).astype(np.int8), weights.name))
        constants[node.input[1]].CopyFrom(numpy_helper.from_array(least, node.input[1]))
    save_graph(model, graph)
