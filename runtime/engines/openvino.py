"""The OpenVINO session, on the CPU: the fastest engine for BERT on x86.

Every property is set on purpose. OpenVINO computes in bfloat16 wherever the processor can unless it is told otherwise,
so the precision is always given: float32, or bfloat16 where that was asked for. Kernels are made for every shape that
is met, which takes up to 40 ms, and kept: so lengths are best rounded up to a multiple of 8, which leaves 64, and fewer
kernels are kept than OpenVINO's own 5,000, which are hundreds of megabytes.

A small call uses all threads, in one stream, which is what latency wants. Many calls are faster side by side, each on a
thread of its own: threads that share one call wait for each other in every layer. So is one call of many rows, which is
cut up for that if each thread gets as many. That takes a second compiled model, and its memory: it is made when work is
first asked for that is large enough to be worth it.

Compiled models are kept in the user's cache folder, which makes the second start of a process several times faster; a
cache that cannot be written is done without, and of an old one the models that were longest unused go.
"""

import sys
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from queue import Empty, LifoQueue
from threading import Lock

import numpy as np

from dpr_export.runtime.engines.compile_cache import kept_folder
from dpr_export.runtime.engines.concurrency import overlapped
from dpr_export.runtime.engines.session import LONGEST, Feeds, Outputs

# OpenVINO's package tells its makers of every import, over the network and from a thread of its own, unless the package
# that does so is missing; so it is missing for as long as that import takes.
_TELEMETRY = "openvino_telemetry"
_telemetry = sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]
try:
    import openvino as ov
    from openvino import properties
    from openvino.properties import hint
except ImportError as error:
    raise ImportError('openvino is not installed: pip install "dpr-export[openvino]"') from error
finally:
    if _telemetry is None:
        del sys.modules[_TELEMETRY]

# The binding makes its table of NumPy's types when it is first asked for one, and two threads that ask at once wait for
# each other forever: so it is asked here, where no other thread can.
ov.Type.i64.to_dtype()

_BATCH_TOKENS = 1024
_MANY = 4  # batches, one a thread at least, from which on a second compiled model is worth its memory
_KERNELS = "1024"
_ONNX = b"\x08"  # an ONNX file begins with its version; of other files OpenVINO's other readers complain on their own
_LENGTH_MULTIPLE = 8
_TYPES = {"fp32": ov.Type.f32, "int8": ov.Type.f32, "bf16": ov.Type.bf16}

_Compiled = tuple[ov.CompiledModel, LifoQueue[ov.InferRequest]]  # a model, and its requests that nobody uses


class OpenVinoSession:
    """A graph compiled by OpenVINO.

    Args:
        graph: the .onnx file.
        device: "cpu".
        threads: how many threads one call may use.
        precision: "fp32" or "int8" computes what the graph says in float32 where it is not quantized; "bf16" does so
            in bfloat16.
        cache: the graph's SHA-256, under which the compiled model is kept; None keeps nothing.
        longest: any length is run as it is.

    Raises:
        RuntimeError: OpenVINO refused the graph, or the processor has no bfloat16.
    """

    def __init__(
        self,
        graph: Path,
        *,
        device: str = "cpu",
        threads: int,
        precision: str = "fp32",
        cache: str | None = None,
        longest: int = LONGEST,  # noqa: ARG002 (every session takes it)
    ) -> None:
        self._core = ov.Core()
        if precision == "bf16" and "BF16" not in self._core.get_property("CPU", properties.device.capabilities()):
            raise RuntimeError("precision is 'bf16', and this processor has no bfloat16")
        self._graph = graph
        self._options = {
            hint.inference_precision(): _TYPES[precision],
            properties.inference_num_threads(): threads,
            "CPU_RUNTIME_CACHE_CAPACITY": _KERNELS,
            hint.enable_cpu_pinning(): False,  # pinned, the threads of two processes share the first processors
        }
        if folder := kept_folder("openvino", cache) if cache else None:
            self._options[properties.cache_dir()] = str(folder)
        self._compiling = Lock()
        self._threads = threads
        self._many = max(_MANY, threads)
        self._compiled: dict[int, _Compiled] | None = {}
        model, _ = self._compiled_for(streams=1)
        self.input_names = tuple(port.get_any_name() for port in model.inputs)
        self.output_names = tuple(port.get_any_name() for port in model.outputs)
        self.device = device
        self.batch_tokens = _BATCH_TOKENS
        self.length_multiple = _LENGTH_MULTIPLE
        self.pads = False
        self.engine = f"openvino {ov.__version__.split('-')[0]} CPU {precision}"

    def run(self, feeds: Feeds) -> Outputs:
        rows, length = feeds["attention_mask"].shape
        if self._threads == 1 or rows % self._threads or rows * length < self._many * _BATCH_TOKENS:
            return self._run(feeds, streams=1)
        rounds = -(-rows * length // (_BATCH_TOKENS * self._threads))  # parts for each thread, of a batch's size
        arrays = [np.array_split(feeds[name], min(rows, rounds * self._threads)) for name in feeds]
        parts = (dict(zip(feeds, part, strict=True)) for part in zip(*arrays, strict=True))
        found = list(overlapped(partial(self._run, streams=self._threads), parts, workers=self._threads))
        return {name: np.concatenate([part[name] for part in found]) for name in self.output_names}

    def run_all(self, calls: Iterable[Feeds]) -> Iterator[Outputs]:
        first = list(islice(calls := iter(calls), self._many))
        if len(first) < self._many:
            return overlapped(self.run, first, workers=1)
        return overlapped(partial(self._run, streams=self._threads), chain(first, calls), workers=self._threads)

    def _run(self, feeds: Feeds, streams: int) -> Outputs:
        model, idle = self._compiled_for(streams)
        try:
            request = idle.get_nowait()
        except Empty:
            request = model.create_infer_request()
        try:
            results = request.infer(feeds, share_inputs=True)
        except RuntimeError as error:
            raise RuntimeError(f"OpenVINO failed: {_last_line(error)}") from None
        outputs = {name: results[name].copy() for name in self.output_names}
        idle.put(request)
        return outputs

    def _compiled_for(self, streams: int) -> _Compiled:
        """The graph, compiled for so many calls at once; the threads are shared out among them. What is compiled
        already is had without waiting for what is being compiled."""
        compiled = self._compiled
        if compiled is None:
            raise RuntimeError("this session is closed")
        if streams not in compiled:
            with self._compiling:
                if streams not in compiled:
                    compiled[streams] = self._compile(streams)
        return compiled[streams]

    def _compile(self, streams: int) -> _Compiled:
        options = {**self._options, properties.num_streams(): streams}
        with self._graph.open("rb") as file:
            if file.read(1) != _ONNX:
                raise RuntimeError(f"OpenVINO cannot load {self._graph}: it is no ONNX graph")
        try:
            return self._core.compile_model(str(self._graph), "CPU", options), LifoQueue()
        except RuntimeError as error:
            raise RuntimeError(f"OpenVINO cannot load {self._graph}: {_last_line(error)}") from None

    def close(self) -> None:
        self._compiled = None


def _last_line(error: RuntimeError) -> str:
    """Of OpenVINO's long messages, what went wrong."""
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), "it does not say why").strip()
