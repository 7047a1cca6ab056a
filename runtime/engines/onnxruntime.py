"""The ONNX Runtime session on the CPU: the engine that runs on every kind of processor."""

from functools import partial
from pathlib import Path
from typing import Any

from dpr_export.models.telemetry import no_telemetry
from dpr_export.runtime.engines.forking import PerProcess
from dpr_export.runtime.engines.session import Feeds, Outputs, Session

try:
    with no_telemetry():
        import onnxruntime as ort
except ImportError as error:
    raise ImportError('onnxruntime is not installed: pip install "dpr-export[cpu]"') from error

_PROVIDER = "CPUExecutionProvider"
_ERRORS_ONLY = 3
# Fused, these are slower than their parts: LayerNorm with its residual, and GELU with its bias.
_SLOWER_FUSED = "SkipLayerNormFusion;BiasGeluFusion"


class OnnxRuntimeSession(Session):
    """A graph loaded by ONNX Runtime. Arguments and exceptions are as for `open_session`."""

    device = "cpu"
    engine = f"onnxruntime {ort.__version__} {_PROVIDER}"
    batch_tokens = 1024

    def __init__(self, graph: Path, *, threads: int) -> None:
        self._opened = PerProcess(partial(_open, graph, threads))
        session = self._opened.get()
        self.input_names = tuple(value.name for value in session.get_inputs())
        self.output_names = tuple(value.name for value in session.get_outputs())

    def run(self, feeds: Feeds) -> Outputs:
        session = self._opened.get()
        try:
            outputs = session.run(None, feeds)
        except Exception as error:  # as above
            raise RuntimeError(f"ONNX Runtime failed: {error}") from None
        return dict(zip(self.output_names, outputs, strict=True))

    def close(self) -> None:
        self._opened.close()


def _open(graph: Path, threads: int) -> Any:
    """Load a graph."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # The graph is a chain of large operators: they run one after another, and all threads work inside each.
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads  # 0 would count the machine's processors, not those this process may use
    options.enable_mem_pattern = False  # a memory plan would be kept for every shape that was ever seen
    options.add_session_config_entry("optimization.disable_specified_optimizers", _SLOWER_FUSED)
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = ort.InferenceSession(str(graph), options, providers=[_PROVIDER])
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise RuntimeError(f"ONNX Runtime cannot load {graph}: {error}") from None
    if _PROVIDER not in session.get_providers():
        raise RuntimeError(f"ONNX Runtime did not get {_PROVIDER}, only {', '.join(session.get_providers())}")
    return session
