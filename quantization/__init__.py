"""ONNX to ONNX, without PyTorch: passes that turn `model.onnx` into faster variants, each in a file of its own."""

from dpr_export.models.artifact.variant_options import VariantOptions
from dpr_export.quantization.add import add_variants
from dpr_export.quantization.errors import QuantizationError
from dpr_export.quantization.gate import Gate, tokenize_each
from dpr_export.quantization.passes.fp16 import to_fp16
from dpr_export.quantization.passes.fusion import fuse
from dpr_export.quantization.passes.int8_dynamic import quantize_dynamic_int8
from dpr_export.quantization.passes.int8_static import quantize_static_int8
from dpr_export.quantization.texts import read_texts

__all__ = [
    "Gate",
    "QuantizationError",
    "VariantOptions",
    "add_variants",
    "fuse",
    "quantize_dynamic_int8",
    "quantize_static_int8",
    "read_texts",
    "to_fp16",
    "tokenize_each",
]
