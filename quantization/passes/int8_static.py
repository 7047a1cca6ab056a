"""INT8 for OpenVINO: weights and activations quantized beforehand, by scales measured on calibration texts.

NNCF places the quantizers: symmetric, so that zero stays zero and every engine reads them; one scale a column of
weights; SmoothQuant moves the outliers of activations, which BERT is known for, into the weights first. What NNCF
writes is standard ONNX (QuantizeLinear and DequantizeLinear), which OpenVINO turns into integer products.

Since scales are fixed, a text's result hardly depends on the texts beside it. NNCF takes seconds to import, since it
brings torch where that is installed, so it is imported when it is needed.
"""

import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import onnx

from dpr_export.quantization.errors import QuantizationError
from dpr_export.quantization.passes.parts import PRODUCTS
from dpr_export.runtime.engines.session import Feeds


def quantize_static_int8(
    source: Path, output: Path, calls: Sequence[Feeds], *, in_float: Sequence[str] = (), linear_alone: bool = False
) -> int:
    """Quantize a graph to INT8 by scales measured on calls.

    Args:
        source: the .onnx file of standard operators.
        output: the .onnx file to write.
        calls: the graph's inputs for each calibration text, int64 (1, sequence).
        in_float: the matrix products to leave in float32, by name.
        linear_alone: quantize the linear layers alone; embeddings, and attention's products, stay in float32.

    Returns:
        How many matrix products were quantized.

    Raises:
        QuantizationError: a quantizer is not symmetric, or none was placed.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    original = onnx.load(source)
    ignored, types = list(in_float), []
    if linear_alone:
        ignored, types = [*ignored, *products_of_activations(original)], ["Gather"]
    with redirect_stdout(StringIO()):
        model = nncf.quantize(
            original,
            nncf.Dataset(calls),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.PERFORMANCE,
            subset_size=len(calls),
            ignored_scope=nncf.IgnoredScope(names=ignored, types=types),
        )
    check_symmetric(model)
    onnx.save(model, output)
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return sum(node.op_type == "MatMul" and set(node.input) <= dequantized for node in model.graph.node)


def unquantized(source: Path, output: Path, names: Sequence[str]) -> None:
    """Take the quantizers of some matrix products' activations out of a graph again; weights stay as they are.

    Args:
        source: an .onnx file that `quantize_static_int8` wrote.
        output: the .onnx file to write.
        names: the matrix products.
    """
    model = onnx.load(source)
    made_by = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.name not in names:
            continue
        for index, name in enumerate(node.input):
            dequantize = made_by.get(name)
            if dequantize is not None and dequantize.op_type == "DequantizeLinear" and dequantize.input[0] in made_by:
                node.input[index] = made_by[dequantize.input[0]].input[0]
    onnx.save(model, output)


def products_of_activations(model: onnx.ModelProto) -> list[str]:
    """The matrix products that no weight has a part in: attention's two, by name."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type in PRODUCTS and not weights & set(node.input)]


def check_symmetric(model: onnx.ModelProto) -> None:
    """Every zero point is zero: other engines refuse what is not."""
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantizers = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    if not quantizers:
        raise QuantizationError("NNCF placed no quantizers in the graph")
    for node in quantizers:
        if len(node.input) > 2 and node.input[2] and constants[node.input[2]].any():
            raise QuantizationError(f"the quantizer {node.name} is not symmetric")
