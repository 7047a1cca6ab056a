"""Open a graph as its variant runs, and check a variant that is not lossy against right outputs."""

from collections.abc import Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from dpr_export.models.artifact.manifest import Variant
from dpr_export.models.artifact.reference_outputs import Example
from dpr_export.models.artifact.variants import VariantSpec
from dpr_export.runtime.checks.parity import check_parity
from dpr_export.runtime.engines.nvidia.driver import gpu_problem
from dpr_export.runtime.engines.processors import usable_processors
from dpr_export.runtime.engines.session import Session, open_session

REFERENCE = "onnxruntime"


def find_device(spec: VariantSpec) -> str | None:
    """The device here that a variant is for; None if this machine lacks it, or its engine is not installed.

    TensorRT engine files are not built here: `dpr-runtime build` checks them when it builds them.
    """
    if "cpu" in spec.devices:
        return "cpu" if find_spec(spec.backend) else None
    if spec.backend != "onnxruntime" or gpu_problem(0):
        return None
    from dpr_export.runtime.engines.nvidia.onnxruntime_cuda import cuda_problem

    return None if cuda_problem(0) else "cuda"


def open_variant(spec: VariantSpec, graph: Path) -> closing[Session]:
    """Open a graph on the engine and device of a variant; if this machine lacks them, on ONNX Runtime's CPU."""
    device = find_device(spec)
    return open_graph(spec.backend if device else REFERENCE, graph, device or "cpu")


def open_graph(backend: str, graph: Path, device: str = "cpu") -> closing[Session]:
    """Open a graph with all processors that this process may use, and close it after use. Nothing is cached."""
    return closing(open_session(backend, graph, device=device, threads=usable_processors()))


def check_variant(
    spec: VariantSpec, graph: Path, calls: Sequence[Example], atol: float, reference_error: float
) -> Variant:
    """Check the graph of a variant that is not lossy; arguments and exceptions are as for `check_parity`."""
    with open_variant(spec, graph) as session:
        parity = check_parity(session, calls, atol, reference_error)
    return Variant(spec.backend, spec.precision, spec.file, parity, None, find_device(spec) is not None, {}, None)
