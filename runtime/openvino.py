"""The OpenVINO session, on the CPU: the fastest engine for BERT on x86.

Every property is set on purpose. OpenVINO computes in bfloat16 wherever the processor can unless it is told otherwise,
so the precision is always given: float32, or bfloat16 where that was asked for. One call uses all threads and there is
one stream, which is what latency wants. Kernels are made for every shape that is met, and as many are kept as a few
shapes need: by its own count OpenVINO would keep 5,000, which are hundreds of megabytes.

Compiled models are kept in the user's cache folder, which makes the second start of a process several times faster; a
cache that cannot be written is done without, and of an old one the models that were longest unused go.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, LifoQueue

from dpr_export.runtime.batching import overlapped
from dpr_export.runtime.session import Feeds, Outputs

try:
    import openvino as ov
    from openvino import properties
    from openvino.properties import hint
except ImportError as error:
    raise ImportError('openvino is not installed: pip install "dpr-export[openvino]"') from error

_DEVICES = {"cpu": "CPU"}
_KERNELS = "1024"
_KEPT = 16
_TYPES = {"fp32": ov.Type.f32, "int8": ov.Type.f32, "bf16": ov.Type.bf16}


class OpenVinoSession:
    """A graph compiled by OpenVINO.

    Args:
        graph: the .onnx file.
        device: "cpu".
        threads: how many threads one call may use.
        precision: "fp32" or "int8" computes what the graph says in float32 where it is not quantized; "bf16" does so
            in bfloat16.
        cache: keep the compiled model in the user's cache folder.

    Raises:
        ValueError: no such device.
        RuntimeError: OpenVINO refused the graph, or the processor has no bfloat16.
    """

    def __init__(
        self, graph: Path, *, device: str = "cpu", threads: int, precision: str = "fp32", cache: bool = True
    ) -> None:
        if device not in _DEVICES:
            raise ValueError(f"device is {device!r}: the openvino backend runs on {', '.join(_DEVICES)}")
        core = ov.Core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", properties.device.capabilities()):
            raise RuntimeError("precision is 'bf16', and this processor has no bfloat16")
        options = {
            hint.inference_precision(): _TYPES[precision],
            hint.performance_mode(): hint.PerformanceMode.LATENCY,
            properties.num_streams(): 1,
            properties.inference_num_threads(): threads,
            "CPU_RUNTIME_CACHE_CAPACITY": _KERNELS,
        }
        if folder := _cache_folder() if cache else None:
            options[properties.cache_dir()] = str(folder)
        try:
            self._model: ov.CompiledModel | None = core.compile_model(str(graph), _DEVICES[device], options)
        except RuntimeError as error:
            raise RuntimeError(f"OpenVINO cannot load {graph}: {str(error).splitlines()[-1]}") from None
        self._idle: LifoQueue[ov.InferRequest] = LifoQueue()
        self.input_names = tuple(port.get_any_name() for port in self._model.inputs)
        self.output_names = tuple(port.get_any_name() for port in self._model.outputs)
        self.device = device
        self.engine = f"openvino {ov.__version__.split('-')[0]} {_DEVICES[device]} {precision}"

    def run(self, feeds: Feeds) -> Outputs:
        model = self._model
        if model is None:
            raise RuntimeError("this session is closed")
        try:
            request = self._idle.get_nowait()
        except Empty:
            request = model.create_infer_request()
        try:
            results = request.infer(feeds, share_inputs=True)
        except RuntimeError as error:
            raise RuntimeError(f"OpenVINO failed: {str(error).strip().splitlines()[-1]}") from None
        outputs = {name: results[name].copy() for name in self.output_names}
        self._idle.put(request)
        return outputs

    def run_all(self, calls: Iterable[Feeds]) -> Iterator[Outputs]:
        return overlapped(self.run, calls, workers=1)

    def close(self) -> None:
        self._model = None
        self._idle = LifoQueue()


def _cache_folder() -> Path | None:
    """Where compiled models are kept, made if need be; None where that cannot be written."""
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    folder = Path(home, "dpr-export", "openvino")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(folder, os.W_OK):
        return None
    _forget_old(folder)
    return folder


def _forget_old(folder: Path) -> None:
    """Leave the compiled models that were used last: one is as large as its graph, and each new graph adds one."""
    with suppress(OSError):  # another process may tidy up at the same time
        for blob in sorted(folder.glob("*.blob"), key=lambda blob: blob.stat().st_atime)[:-_KEPT]:
            blob.unlink()
