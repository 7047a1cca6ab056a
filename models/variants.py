"""The variants of an exported model: which file each backend runs at each precision.

A variant is a pair (backend, precision). The rows of one backend stand in its order of preference: the first that a
folder holds, proved, is what `precision="auto"` picks.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VariantSpec:
    """One row of the table: a backend, a precision, and the file that holds their graph."""

    backend: str
    precision: str
    file: str


MODEL_FILE = "onnx/model.onnx"

VARIANTS = (VariantSpec("onnxruntime", "fp32", MODEL_FILE),)

BACKENDS = tuple(dict.fromkeys(spec.backend for spec in VARIANTS))
PRECISIONS = tuple(dict.fromkeys(spec.precision for spec in VARIANTS))
