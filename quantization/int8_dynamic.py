"""INT8 for ONNX Runtime on CPUs: weights quantized once, activations as they come.

Matrix products with a constant, the Q/K/V projections among them, become integer products; weights have one scale a
column. Attention itself stays in float32, as MultiHeadAttention. Were it one Attention operator instead, ONNX Runtime's
quantizer would skip it, or turn it into a QAttention that drops the mask without a word.

No calibration is needed, since every activation is measured when it is there. That measuring is also why a text's
result depends a little on the texts beside it: one scale serves the whole batch.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic


def quantize_dynamic_int8(source: Path, output: Path, *, in_float: Sequence[str] = ()) -> None:
    """Quantize a fused graph's weights to INT8.

    Args:
        source: the .onnx file that `fuse` wrote.
        output: the .onnx file to write.
        in_float: the matrix products to leave in float32, by name.
    """
    with TemporaryDirectory() as folder, _without_advice():
        model = onnx.load(source)
        del model.graph.value_info[:]  # torch's own notes on shapes, some of which the quantizer finds wrong
        onnx.save(model, Path(folder, "fused.onnx"))
        quantize_dynamic(
            Path(folder, "fused.onnx"),
            output,
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(in_float),
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT, "MatMulConstBOnly": True},
        )


@contextmanager
def _without_advice() -> Iterator[None]:
    """Without the quantizer's advice, on the root logger, to prepare the graph by a tool that was used above."""
    root = logging.getLogger()
    root.addFilter(_no_advice)
    try:
        yield
    finally:
        root.removeFilter(_no_advice)


def _no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()
