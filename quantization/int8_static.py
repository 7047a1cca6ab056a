"""INT8 for OpenVINO: weights and activations quantized beforehand, by scales measured on calibration texts.

NNCF places the quantizers: symmetric, so that zero stays zero and every engine reads them; one scale a column of
weights; SmoothQuant moves the outliers of activations, which BERT is known for, into the weights first. What NNCF
writes is standard ONNX (QuantizeLinear and DequantizeLinear), which OpenVINO turns into integer products.

Since scales are fixed, a text's result does not depend on the texts beside it.
"""

import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import nncf
import onnx

from dpr_export.quantization.errors import QuantizationError
from dpr_export.runtime.session import Feeds


def quantize_static_int8(source: Path, output: Path, calls: Sequence[Feeds]) -> int:
    """Quantize a graph to INT8 by scales measured on calls.

    Args:
        source: the .onnx file of standard operators.
        output: the .onnx file to write.
        calls: the graph's inputs for each calibration text, int64 (1, sequence).

    Returns:
        How many matrix products were quantized.

    Raises:
        QuantizationError: a quantizer is not symmetric, or none was placed.
    """
    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(StringIO()):
        model = nncf.quantize(
            onnx.load(source),
            nncf.Dataset(calls),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.PERFORMANCE,
            subset_size=len(calls),
        )
    check_symmetric(model)
    onnx.save(model, output)
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return sum(node.op_type == "MatMul" and set(node.input) <= dequantized for node in model.graph.node)


def check_symmetric(model: onnx.ModelProto) -> None:
    """Every zero point is zero: other engines refuse what is not."""
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantizers = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    if not quantizers:
        raise QuantizationError("NNCF placed no quantizers in the graph")
    for node in quantizers:
        if len(node.input) > 2 and node.input[2] and constants[node.input[2]].any():
            raise QuantizationError(f"the quantizer {node.name} is not symmetric")
