"""Quantize a graph statically to INT8 for OpenVINO: the scales of activations are measured on calibration texts.

NNCF places symmetric quantizers, as standard ONNX, with a scale for each column of weights; first SmoothQuant moves the
outliers of activations into the weights. Scales are fixed, so a text's result hardly depends on the rest of its batch.
NNCF takes seconds to import, with torch if that is installed, and is imported at first use.

Weights use all 8 bits. An x86 processor without VNNI adds two products of bytes in 16 bits, which may saturate; but
with fixed symmetric scales few activations are large enough, and 7 bits cost more accuracy on every processor.
"""

import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import onnx

from dpr_export.models.telemetry import no_telemetry
from dpr_export.quantization.errors import QuantizationError
from dpr_export.quantization.passes.parts import PRODUCTS
from dpr_export.quantization.save_graph import save_graph
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
    with no_telemetry():
        import nncf
        from nncf.onnx.quantization.backend_parameters import BackendParameters

    nncf.set_log_level(logging.ERROR)
    original = onnx.load(source, load_external_data=False)  # NNCF reads large weights itself
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
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                backend_params={BackendParameters.EXTERNAL_DATA_DIR: str(source.parent.resolve())}
            ),
        )
    check_symmetric(model)
    save_graph(model, output)
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return sum(node.op_type == "MatMul" and set(node.input) <= dequantized for node in model.graph.node)


def remove_quantizers(source: Path, output: Path, names: Sequence[str]) -> None:
    """Remove the quantizers of some matrix products' activations, by name. Weights stay quantized."""
    model = onnx.load(source)
    made_by = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.name not in names:
            continue
        for index, name in enumerate(node.input):
            dequantize = made_by.get(name)
            if dequantize is not None and dequantize.op_type == "DequantizeLinear" and dequantize.input[0] in made_by:
                node.input[index] = made_by[dequantize.input[0]].input[0]
    save_graph(model, output)


def find_products_of_activations(model: onnx.ModelProto) -> list[str]:
    """Name the matrix products that read no weight: attention's two in each layer."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type in PRODUCTS and not weights & set(node.input)]


def check_symmetric(model: onnx.ModelProto) -> None:
    """Raise QuantizationError unless there are quantizers, and all zero points are zero, as other engines need."""
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantizers = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    if not quantizers:
        raise QuantizationError("NNCF placed no quantizers in the graph")
    for node in quantizers:
        if len(node.input) > 2 and node.input[2] and constants[node.input[2]].any():
            raise QuantizationError(f"the quantizer {node.name} is not symmetric")
