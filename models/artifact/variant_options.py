"""Options for making variants, shared by an export and by adding variants to an exported folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dpr_export.models.artifact.reference_outputs import ATOL
from dpr_export.models.artifact.variants import DEFAULT_BACKENDS, VariantSpec, select_specs


@dataclass(frozen=True, kw_only=True)
class VariantOptions:
    """Which variants to make, and when to accept them.

    Attributes:
        precisions: "fp32", which every exported folder has, "fp16", "int8".
        backends: the engines to make them for: "onnxruntime", "openvino", "tensorrt".
        calibration: a file of texts to calibrate with, .jsonl or .tsv of question, title and text; None: the 200 texts
            that come with dpr-export.
        atol: the absolute part of the tolerance of the parity check; 1e-5 x max|reference| is added to it.
        allow_loss: write a variant whose metrics are below their bounds too; "auto" never selects it.
        force: replace what exists.

    Raises:
        ValueError: an unknown precision or backend, a precision that none of the backends has, an `atol` out of
            bounds, or `calibration` or `allow_loss` with fp32 alone.

    Example:
        >>> [spec.file for spec in VariantOptions(precisions=["int8"], backends=["onnxruntime"]).specs]
        ['onnx/model.onnx', 'onnx/model_ort_int8.onnx']
    """

    precisions: Sequence[str] = ("fp32",)
    backends: Sequence[str] = DEFAULT_BACKENDS
    calibration: str | Path | None = None
    atol: float = ATOL
    allow_loss: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.atol < 1:
            raise ValueError(f"atol is {self.atol}, and must be above 0 and below 1")
        lossy = any(spec.lossy for spec in self.specs)
        for name, has_value in (("calibration", self.calibration is not None), ("allow_loss", self.allow_loss)):
            if has_value and not lossy:
                raise ValueError(f"{name} has no effect on fp32: give another precision too (--precision int8)")

    @property
    def specs(self) -> list[VariantSpec]:
        """The rows of the table of variants that are asked for, `model.onnx` first."""
        return select_specs(self.precisions, self.backends)
