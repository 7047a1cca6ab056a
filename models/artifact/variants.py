"""The table of variants, which names a file for each backend and precision, and the bounds of lossy variants.

A variant is a pair (backend, precision). The rows are in order of preference: `backend="auto"` and `precision="auto"`
pick the first one that suits the device, is in the folder, is verified, and passes its check on this machine. Rows made
for other processors come last. Where a pair has two rows, the second is used in folders without the first.
"""

from collections.abc import Collection
from dataclasses import dataclass

MODEL_FILE = "onnx/model.onnx"
EMBEDS_FILE = "onnx/model_embeds.onnx"  # takes embeddings instead of ids; used by calls with inputs_embeds


@dataclass(frozen=True, slots=True)
class VariantSpec:
    """One row of the table.

    Attributes:
        backend: the backend that runs the graph.
        precision: the precision of its computation.
        file: the path of the graph in the folder.
        recipe: the pass of `dpr_export.quantization` that makes it from `model.onnx`; None: it is `model.onnx`.
        devices: the kinds of device that it can run on, the preferred one first.
        processors: the kinds of processor that it is fast on, as `processor_kind` names them; empty: all.
    """

    backend: str
    precision: str
    file: str
    recipe: str | None = None
    devices: tuple[str, ...] = ("cpu",)
    processors: tuple[str, ...] = ()

    @property
    def lossy(self) -> bool:
        """Whether its outputs differ from the PyTorch model's by more than float32 rounding."""
        return self.precision != "fp32"


VARIANTS = (
    VariantSpec("tensorrt", "fp16", "onnx/model_fp16.onnx", "fp16", ("cuda",)),
    VariantSpec("tensorrt", "int8", "onnx/model_trt_int8.onnx", "tensorrt_int8", ("cuda",)),
    VariantSpec("onnxruntime", "fp16", "onnx/model_ort_fp16.onnx", "fused_fp16", ("cuda",)),
    VariantSpec("tensorrt", "fp32", MODEL_FILE, devices=("cuda",)),
    VariantSpec("openvino", "int8", "onnx/model_int8.onnx", "static_int8", processors=("x86 with VNNI",)),
    VariantSpec("onnxruntime", "int8", "onnx/model_ort_int8.onnx", "dynamic_int8"),
    VariantSpec("openvino", "fp32", MODEL_FILE),
    VariantSpec("onnxruntime", "fp32", "onnx/model_ort.onnx", "fused"),
    VariantSpec("onnxruntime", "fp32", MODEL_FILE, devices=("cpu", "cuda")),
)

BACKENDS = tuple(sorted({spec.backend for spec in VARIANTS}))
PRECISIONS = ("fp32", "fp16", "int8")
DEFAULT_BACKENDS = ("onnxruntime", "openvino")

# Precisions without a file, which "auto" never picks: OpenVINO can compute its fp32 variant in bfloat16.
RUNTIME_PRECISIONS = {"bf16": ("openvino", "fp32")}


class AccuracyWarning(RuntimeWarning):
    """A variant that was named is less accurate on this machine than its bound allows."""


# The lowest metrics that a lossy variant may have on the evaluation set.
BOUNDS = {
    "mean_cosine": 0.99,
    "least_cosine": 0.97,
    "least_cosine_alone": 0.97,
    "same_passage": 0.97,
    "same_span": 0.90,
    "same_span_alone": 0.90,
}


def order_for(processor: str) -> list[VariantSpec]:
    """Return the rows of the table in the order of preference for a kind of processor.

    >>> [spec.backend for spec in order_for("Arm") if spec.precision == "int8" and spec.devices == ("cpu",)]
    ['onnxruntime', 'openvino']
    """
    return sorted(VARIANTS, key=lambda spec: bool(spec.processors) and processor not in spec.processors)


def select_specs(precisions: Collection[str], backends: Collection[str]) -> list[VariantSpec]:
    """Return the requested rows of the table, after those of `model.onnx`, with ONNX Runtime's first.

    Raises:
        ValueError: an unknown precision or backend, or a precision that none of the backends has.

    >>> [spec.file for spec in select_specs(["int8"], ["openvino"])]
    ['onnx/model.onnx', 'onnx/model.onnx', 'onnx/model_int8.onnx']
    """
    for name, values, known in (("precision", precisions, PRECISIONS), ("backend", backends, BACKENDS)):
        for value in values:
            if value not in known:
                raise ValueError(f"{name} is {value!r}, and must be one of: {', '.join(known)}")
    rows = [spec for spec in VARIANTS if spec.backend in backends and spec.precision in precisions]
    for precision in precisions:
        if precision != "fp32" and not any(spec.precision == precision for spec in rows):
            having = ", ".join(spec.backend for spec in VARIANTS if spec.precision == precision)
            raise ValueError(f"precision {precision} is made for {having}, not for {', '.join(backends)}")
    plain = [spec for spec in reversed(VARIANTS) if spec.recipe is None and spec.backend in ("onnxruntime", *backends)]
    return plain + [spec for spec in rows if spec.recipe]


def metrics_below_bound(metrics: dict[str, float]) -> list[str]:
    """Return the names of the metrics that are below their bound.

    >>> metrics_below_bound({"mean_cosine": 0.995, "least_cosine": 0.9, "top1": 0.5})
    ['least_cosine']
    """
    return [name for name, value in metrics.items() if not value >= BOUNDS.get(name, value)]
