"""ONNX to ONNX, without PyTorch: passes that turn `model.onnx` into faster variants, each in a file of its own."""

from dpr_export.quantization.errors import QuantizationError
from dpr_export.quantization.fuse import fuse
from dpr_export.quantization.int8_dynamic import quantize_dynamic_int8

__all__ = ["QuantizationError", "fuse", "quantize_dynamic_int8"]
