"""ONNX to ONNX, without PyTorch: passes that turn `model.onnx` into faster variants, each in a file of its own."""

from dpr_export.quantization.errors import QuantizationError
from dpr_export.quantization.fuse import fuse
from dpr_export.quantization.gate import judge, tokenized
from dpr_export.quantization.int8_dynamic import quantize_dynamic_int8
from dpr_export.quantization.int8_static import quantize_static_int8
from dpr_export.quantization.texts import read_texts

__all__ = [
    "QuantizationError",
    "fuse",
    "judge",
    "quantize_dynamic_int8",
    "quantize_static_int8",
    "read_texts",
    "tokenized",
]
