"""The ONNX Runtime session, on an NVIDIA GPU.

Small calls are padded up to a few sizes, and each size is recorded as a CUDA graph and replayed: to launch BERT's
kernels one by one takes longer than to compute them. Larger calls are computed at their own size, and so is a call with
a fully masked row, which padding would change.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from dpr_export.models.telemetry import no_telemetry
from dpr_export.runtime.engines.devices import parse_device
from dpr_export.runtime.engines.forking import never_free, watch_forks
from dpr_export.runtime.engines.nvidia.capture_lock import CAPTURE_LOCK
from dpr_export.runtime.engines.nvidia.driver import compute_capability, gpu_problem
from dpr_export.runtime.engines.nvidia.shape_buckets import MOST_TOKENS, buckets_for, corner, padded_to, true_shape
from dpr_export.runtime.engines.session import LONGEST, DeviceSession, Feeds, OnDevice, Outputs
from dpr_export.runtime.engines.worker_thread import WorkerThread

try:
    with no_telemetry():
        import onnxruntime as ort
except ImportError as error:
    raise ImportError('onnxruntime-gpu is not installed: pip install "dpr-export[gpu]"') from error

_PROVIDER = "CUDAExecutionProvider"
_LIBRARIES = ("onnxruntime_providers_shared", "onnxruntime_providers_cuda")
_CUDNN = "cudnn64_9.dll" if sys.platform == "win32" else "libcudnn.so.9"  # which ONNX Runtime loads in the first call
_MACHINE_CODE = {"1.31.1": ("7.5", "8.0", "8.6", "8.9", "9.0", "12.0")}  # of the releases that lack other GPUs'
_WARNINGS, _ERRORS_ONLY = 2, 3  # severities of ONNX Runtime's log
_GRAPH_ID = "gpu_graph_id"
_UNRECORDED = "-1"
_LENGTH_MULTIPLE = 8  # the block size of tensor cores
_OUT_OF_MEMORY = ("out of memory", "Failed to allocate memory", "ALLOC_FAILED")
# Captures that fail in a row, after which a session tries no more. Each fails because another library uses the GPU,
# whose call fails too, or even crashes in the driver.
_MOST_FAILURES = 3


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A recorded size: its buffers on the device, to which the CUDA graph is bound, and how to run it."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]
    binding: Any
    options: Any


class OnnxRuntimeCudaSession(DeviceSession):
    """A graph loaded by ONNX Runtime on a GPU. Arguments and exceptions are as for `open_session`.

    ONNX Runtime keeps recordings for each thread that calls it, and changes the calling thread's current device. So the
    session has a thread of its own, which opens it, makes all of its calls and closes it. All recordings compute in
    ONNX Runtime's arena, since one call runs at a time.
    """

    batch_tokens = MOST_TOKENS
    length_multiple = _LENGTH_MULTIPLE

    def __init__(self, graph: Path, *, device: str = "cuda", longest: int = LONGEST) -> None:
        self._index = parse_device(device)[1]
        if problem := cuda_problem(self._index):
            raise RuntimeError(f"ONNX Runtime cannot use cuda:{self._index}: {problem}")
        self._thread = WorkerThread("dpr-export-cuda")
        try:
            self._session, recording = self._thread.run(lambda: _open(graph, self._index))
        except BaseException:
            self._thread.end()
            raise
        watch_forks(self)
        self._buckets = buckets_for("question", longest) if recording else ()
        self._recorded: dict[tuple[int, int], _Recorded] = {}
        self._failed_captures = 0  # since the last that was recorded
        self._graph_ids = count(1)
        self.input_names = tuple(value.name for value in self._session.get_inputs())
        self._shapes = {
            value.name: tuple(size if isinstance(size, int) else None for size in value.shape)
            for value in self._session.get_outputs()
        }
        self.output_names = tuple(self._shapes)
        self.device = f"cuda:{self._index}"
        self.engine = f"onnxruntime {ort.__version__} {_PROVIDER}" + (", CUDA graphs" if recording else "")

    def run(self, feeds: Feeds) -> Outputs:
        return self._thread.run(lambda: self._run(feeds))

    def run_on_device(self, feeds: Feeds) -> dict[str, OnDevice]:
        return self._thread.run(lambda: self._run_on_device(feeds))

    def _run(self, feeds: Feeds) -> Outputs:
        with self._computed(feeds) as (values, _):
            arrays = {name: value.numpy() for name, value in values.items()}
        size = feeds["attention_mask"].shape
        return {name: arrays[name][corner(true_shape(shape, *size))] for name, shape in self._shapes.items()}

    def _run_on_device(self, feeds: Feeds) -> dict[str, OnDevice]:
        with self._computed(feeds) as (values, recorded):
            if recorded:  # the next call of that size overwrites these buffers
                values = {name: self._copy(value) for name, value in values.items()}
        size = feeds["attention_mask"].shape
        return {name: OnDevice(values[name], true_shape(shape, *size)) for name, shape in self._shapes.items()}

    @contextmanager
    def _computed(self, feeds: Feeds) -> Iterator[tuple[dict[str, Any], bool]]:
        """Compute a call, and hold the capture lock while its outputs are read.

        Yields:
            The outputs on the device, and whether they are in the buffers of a recorded size.
        """
        size = self._size(feeds)
        is_new = size is not None and size not in self._recorded and self._failed_captures < _MOST_FAILURES
        with (
            _in_one_line(self.device, feeds["attention_mask"].shape),
            CAPTURE_LOCK.capture() if is_new else CAPTURE_LOCK.call(),
        ):
            if size is not None and is_new:
                outputs = self._capture(feeds, size)
            elif size in self._recorded:
                outputs = self._replay(self._recorded[size], feeds, size)
            else:
                outputs = None
            yield (self._run_unrecorded(feeds), False) if outputs is None else (outputs, True)

    def _capture(self, feeds: Feeds, size: tuple[int, int]) -> dict[str, Any] | None:
        """Record a size while computing its first call; None if the capture fails, as when torch uses CUDA then."""
        new = self._buffers(*size)
        try:
            outputs = self._replay(new, feeds, size)
        except Exception:  # ONNX Runtime's exceptions share no base class of their own
            self._failed_captures += 1
            return None
        self._failed_captures = 0
        self._recorded[size] = new
        return outputs

    def _replay(self, recorded: _Recorded, feeds: Feeds, size: tuple[int, int]) -> dict[str, Any]:
        for name, array in padded_to(feeds, *size).items():
            recorded.inputs[name].update_inplace(array)
        self._session.run_with_iobinding(recorded.binding, recorded.options)
        recorded.binding.synchronize_outputs()
        return recorded.outputs

    def _size(self, feeds: Feeds) -> tuple[int, int] | None:
        """The recorded size that a call is padded to; None if it is computed at its own size."""
        rows, length = feeds["attention_mask"].shape
        bucket = next((bucket for bucket in self._buckets if length <= bucket.length), None)
        if bucket is None or not feeds["attention_mask"].any(axis=1).all():
            return None
        padded, recorded = bucket.rows_for(rows)
        return (padded, bucket.length) if recorded else None

    def _buffers(self, rows: int, length: int) -> _Recorded:
        """Allocate and bind the buffers of a size. The first run with its graph id records it."""
        inputs = {name: self._empty((rows, length), np.int64) for name in self.input_names}
        binding, outputs = self._bind(inputs, rows, length)
        return _Recorded(inputs, outputs, binding, _run_options(str(next(self._graph_ids))))

    def _run_unrecorded(self, feeds: Feeds) -> dict[str, Any]:
        """Compute a call at its own size."""
        inputs = {
            name: ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(feeds[name]), "cuda", self._index)
            for name in self.input_names
        }
        binding, outputs = self._bind(inputs, *feeds["attention_mask"].shape)
        self._session.run_with_iobinding(binding, _run_options(_UNRECORDED))
        binding.synchronize_outputs()
        return outputs

    def _bind(self, inputs: dict[str, Any], rows: int, length: int) -> tuple[Any, dict[str, Any]]:
        """Bind inputs, and outputs in memory of their own: recordings compute in what ONNX Runtime allocates."""
        binding = self._session.io_binding()
        outputs = {
            name: self._empty(true_shape(shape, rows, length), np.float32) for name, shape in self._shapes.items()
        }
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        return binding, outputs

    def _empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype, "cuda", self._index)

    def _copy(self, value: Any) -> Any:
        copy = self._empty(tuple(value.shape()), np.float32)
        copy.update_inplace(value)
        return copy

    def close(self) -> None:
        self._thread.end(self._release)

    def _leave_to_parent(self) -> None:
        never_free(dict(vars(self)))

    def _release(self) -> None:
        with CAPTURE_LOCK.call():
            self._recorded = {}
            self._session = None


def cuda_problem(index: int) -> str | None:
    """Why ONNX Runtime cannot use GPU number `index`, and what to install; None if it can.

    This is checked before a session is opened, since ONNX Runtime falls back to the CPU and prints pages.
    """
    if problem := gpu_problem(index):
        return problem
    if _PROVIDER not in ort.get_available_providers():
        return 'this onnxruntime is built without CUDA: pip uninstall onnxruntime, then pip install "dpr-export[gpu]"'
    with suppress(Exception), redirect_stdout(StringIO()):  # it prints what it does not find
        ort.preload_dlls()
    capability, known = compute_capability(index), _MACHINE_CODE.get(ort.__version__)
    if known and not any(_runs_on(code, capability) for code in known):
        return (
            f"onnxruntime-gpu {ort.__version__} has no machine code for compute capability {capability}, only for "
            + ", ".join(known)
        )
    folder = Path(ort.__file__).parent / "capi"
    libraries = [_CUDNN]
    for name in _LIBRARIES:
        found = next((path for path in folder.glob(f"*{name}.*") if path.suffix in (".so", ".dll")), None)
        if found is None:
            return f'{name} is not in {folder}: pip install --force-reinstall "dpr-export[gpu]"'
        libraries.append(str(found))
    for library in libraries:
        try:
            ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            return f'{error}: pip install "onnxruntime-gpu[cuda,cudnn]" installs CUDA {ort.cuda_version} and cuDNN'
    return None


def _runs_on(code: str, capability: str) -> bool:
    """Whether machine code runs on a GPU: on the same major compute capability, with the same minor or a higher one.

    >>> _runs_on("8.0", "8.9"), _runs_on("8.9", "8.6"), _runs_on("9.0", "10.0")
    (True, False, False)
    """
    (code_major, code_minor), (major, minor) = code.split("."), capability.split(".")
    return code_major == major and int(code_minor) <= int(minor)


def _open(graph: Path, index: int) -> tuple[Any, bool]:
    """Load a graph; also say whether its calls can be recorded, for which all operators must run on the GPU."""
    with CAPTURE_LOCK.call():
        try:
            return _load(graph, index, recording=True), True
        except RuntimeError:
            return _load(graph, index, recording=False), False


def _load(graph: Path, index: int, recording: bool) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_mem_pattern = False  # a memory plan for each shape would take the arena's memory a second time
    options.log_severity_level = _ERRORS_ONLY + recording  # it may fail with recording
    provider = {
        "device_id": str(index),
        "enable_cuda_graph": str(int(recording)),
        "use_tf32": "0",  # compute float32 in float32
        "arena_extend_strategy": "kSameAsRequested",
    }
    ort.set_default_logger_severity(_ERRORS_ONLY)  # it warns that it found no plugin for CUDA, where it needs none
    try:
        session = ort.InferenceSession(str(graph), options, providers=[(_PROVIDER, provider)], enable_fallback=0)
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise RuntimeError(f"ONNX Runtime cannot load {graph} on cuda:{index}: {error}") from None
    finally:
        ort.set_default_logger_severity(_WARNINGS)  # the library's default: what was set before cannot be read
    if _PROVIDER not in session.get_providers():
        raise RuntimeError(f"ONNX Runtime did not get {_PROVIDER}, only {', '.join(session.get_providers())}")
    return session


def _run_options(graph_id: str) -> Any:
    options = ort.RunOptions()
    options.add_run_config_entry(_GRAPH_ID, graph_id)
    return options


@contextmanager
def _in_one_line(device: str, size: tuple[int, ...]) -> Iterator[None]:
    """Turn ONNX Runtime's exceptions into RuntimeErrors of one line, which say what to do."""
    try:
        yield
    except Exception as error:  # as above
        where = f"on {device}, at {size[0]} x {size[1]}"
        if any(sign in str(error) for sign in _OUT_OF_MEMORY):
            raise RuntimeError(f"out of memory {where}: give smaller batches (batch_tokens)") from None
        raise RuntimeError(f"ONNX Runtime failed {where}: {' '.join(str(error).split())}") from None
