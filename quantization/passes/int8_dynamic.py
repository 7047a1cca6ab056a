"""Quantize a graph dynamically to INT8 for ONNX Runtime on CPUs: weights beforehand, activations at each call.

Matrix products with a constant become integer products, with a scale for each column of weights. Weights use 7 of the 8
bits: an x86 processor without VNNI adds two products of bytes in 16 bits, which saturate otherwise. Attention stays in
float32, as MultiHeadAttention: ONNX Runtime's quantizer skips its Attention operator, or makes it a QAttention that
silently drops the mask. One scale serves a whole batch, so a text's result depends a little on the other texts.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from dpr_export.models.quiet import quiet_logger
from dpr_export.models.telemetry import no_telemetry
from dpr_export.quantization.save_graph import save_graph

with no_telemetry():
    from onnxruntime.quantization import QuantType, quantize_dynamic

BLOCK = 128
_INT8_PRODUCTS = 4  # ONNX Runtime's number for the kernels that quantize activations too


def quantize_dynamic_int8(source: Path, output: Path, *, in_float: Sequence[str] = ()) -> None:
    """Quantize a fused graph's weights to INT8.

    Args:
        source: the .onnx file that `fuse` wrote.
        output: the .onnx file to write.
        in_float: the matrix products to leave in float32, by name.
    """
    with TemporaryDirectory() as folder, quiet_logger():
        model = onnx.load(source)
        del model.graph.value_info[:]  # torch's own notes on shapes, some of which the quantizer finds wrong
        quantize_dynamic(
            model,
            Path(folder, "quantized.onnx"),
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*in_float, *(f"{name}_MatMul" for name in in_float)],  # what a Gemm becomes on the way
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT, "MatMulConstBOnly": True},
            use_external_data_format=True,
        )
        save_graph(onnx.load(Path(folder, "quantized.onnx")), output)


def quantize_blockwise_int8(source: Path, output: Path, *, in_float: Sequence[str] = ()) -> None:
    """Quantize a fused graph's weights and activations to INT8 with a scale for each block of `BLOCK` numbers.

    An outlier then affects only its own block, and a row no other row. This is much nearer to float32 than one scale
    for each activation, and slower in batches.

    The arguments are those of `quantize_dynamic_int8`.
    """
    with quiet_logger():
        with no_telemetry():
            from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        quantizer = MatMulNBitsQuantizer(
            onnx.load(source),
            bits=8,
            block_size=BLOCK,
            is_symmetric=True,
            accuracy_level=_INT8_PRODUCTS,
            nodes_to_exclude=list(in_float),
        )
        quantizer.process()
        save_graph(quantizer.model.model, output)
