"""Quantize a graph statically to INT8 for OpenVINO: the scales of activations are measured on calibration texts.

NNCF places symmetric quantizers, which every engine reads, with one scale for each column of weights. Before that,
SmoothQuant moves the outliers of BERT's activations into the weights. The graph that NNCF writes is standard ONNX
(QuantizeLinear and DequantizeLinear); OpenVINO turns it into integer products.

Since scales are fixed, a text's result hardly depends on the other texts of its batch. NNCF is imported at first use,
since that takes seconds: it imports torch where torch is installed.
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
    source: Path, output: Path, calls: Sequence[Feeds], *, in_float: Sequence[str] = (), linear_only: bool = False
) -> int:
    """Quantize a graph to INT8 by scales measured on calls.

    Args:
        source: the .onnx file of standard operators.
        output: the .onnx file to write.
        calls: the graph's inputs for each calibration text, int64 (1, sequence).
        in_float: the matrix products to leave in float32, by name.
        linear_only: quantize only the linear layers; embeddings, and attention's products, stay in float32.

    Returns:
        How many matrix products were quantized.

    Raises:
        QuantizationError: a quantizer is not symmetric, or none was placed.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    original = onnx.load(source)
    ignored, types = list(in_float), []
    if linear_only:
        ignored, types = [*ignored, *find_products_of_activations(original)], ["Gather"]
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


def remove_quantizers(source: Path, output: Path, names: Sequence[str]) -> None:
    """Remove the quantizers of some matrix products' activations from a graph. Weights stay quantized.

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


def find_products_of_activations(model: onnx.ModelProto) -> list[str]:
    """Name the matrix products that read no weight: attention's two in each layer."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type in PRODUCTS and not weights & set(node.input)]


def check_symmetric(model: onnx.ModelProto) -> None:
    """Check that every zero point is zero, since other engines refuse asymmetric quantizers.

    Raises:
        QuantizationError: a zero point is not, or the graph has no quantizers.
    """
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantizers = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    if not quantizers:
        raise QuantizationError("NNCF placed no quantizers in the graph")
    for node in quantizers:
        if len(node.input) > 2 and node.input[2] and constants[node.input[2]].any():
            raise QuantizationError(f"the quantizer {node.name} is not symmetric")
