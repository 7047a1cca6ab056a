"""The ONNX Runtime session, on the CPU.

Every option is set on purpose. Threads are given, because ONNX Runtime counts the machine's processors rather than
those this process may use. The graph is one chain of large operators, so operators run one after another and all
threads work inside each. Memory is not planned ahead: such a plan is kept for every shape that was ever seen, and texts
have many. Two fusions are turned off: ONNX Runtime's kernels for LayerNorm with its residual and GELU with its bias are
slower than those of the parts.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from dpr_export.runtime.engines.concurrency import overlapped
from dpr_export.runtime.engines.session import LONGEST, Feeds, Outputs

try:
    import onnxruntime as ort
except ImportError as error:
    raise ImportError('onnxruntime is not installed: pip install "dpr-export[cpu]"') from error

_PROVIDER = "CPUExecutionProvider"
_BATCH_TOKENS = 1024
_ERRORS_ONLY = 3
_SLOWER_FUSED = "SkipLayerNormFusion;BiasGeluFusion"


class OnnxRuntimeSession:
    """A graph loaded by ONNX Runtime.

    Args:
        graph: the .onnx file.
        device: "cpu".
        threads: how many threads one call may use.
        precision: computed as the graph says; "bf16" is refused.
        cache: nothing is compiled that could be kept.
        longest: any length is run as it is.

    Raises:
        ValueError: no such precision.
        RuntimeError: ONNX Runtime refused the graph.
    """

    def __init__(
        self,
        graph: Path,
        *,
        device: str = "cpu",
        threads: int,
        precision: str = "fp32",
        cache: str | None = None,  # noqa: ARG002 (every session takes it, and the next)
        longest: int = LONGEST,  # noqa: ARG002
    ) -> None:
        if precision == "bf16":
            raise ValueError("precision 'bf16' requires backend 'openvino'")
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False
        options.add_session_config_entry("optimization.disable_specified_optimizers", _SLOWER_FUSED)
        options.log_severity_level = _ERRORS_ONLY
        try:
            session = ort.InferenceSession(str(graph), options, providers=[_PROVIDER])
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            raise RuntimeError(f"ONNX Runtime cannot load {graph}: {error}") from None
        if _PROVIDER not in session.get_providers():
            raise RuntimeError(f"ONNX Runtime did not get {_PROVIDER}, only {', '.join(session.get_providers())}")
        self._session: ort.InferenceSession | None = session
        self.input_names = tuple(value.name for value in session.get_inputs())
        self.output_names = tuple(value.name for value in session.get_outputs())
        self.device = device
        self.batch_tokens = _BATCH_TOKENS
        self.length_multiple = 1
        self.pads = False
        self.engine = f"onnxruntime {ort.__version__} {_PROVIDER}"

    def run(self, feeds: Feeds) -> Outputs:
        session = self._session
        if session is None:
            raise RuntimeError("this session is closed")
        try:
            outputs = session.run(None, feeds)
        except Exception as error:  # as above
            raise RuntimeError(f"ONNX Runtime failed: {error}") from None
        return dict(zip(self.output_names, outputs, strict=True))

    def run_all(self, calls: Iterable[Feeds]) -> Iterator[Outputs]:
        return overlapped(self.run, calls, workers=1)

    def close(self) -> None:
        self._session = None
