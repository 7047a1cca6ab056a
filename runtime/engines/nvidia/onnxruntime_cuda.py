"""The ONNX Runtime session, on an NVIDIA GPU.

Inputs and outputs are bound to device memory. Small calls are padded up to a few sizes, each recorded as a CUDA graph
when it is first met and replayed from then on: launching BERT's kernels one by one takes longer than computing them.
What is recorded is bound to its buffers, so each size has buffers of its own, of a few kilobytes; the memory that the
recordings compute in is ONNX Runtime's arena, one for all, since one call runs at a time. Larger calls are computed at
their own size, and so is a call with a row that is masked altogether, which padding would change.

ONNX Runtime keeps the recordings of each thread that calls it, and those of threads that are gone. It also leaves its
GPU as the calling thread's current device. So a session has one thread, which opens it, makes all of its calls and
closes it.

Other uses of CUDA in the process, such as torch's, can still break a recording off: `capture_lock.py` says why, and
holds sessions off. Such a call is computed without recording, and a later call of that size tries again, a few times.

ONNX Runtime takes the CPU where it cannot have the GPU, with pages of its own on why. So what it needs is looked for
first, and what it got is looked at afterwards.
"""

import ctypes
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from dpr_export.runtime.engines.concurrency import overlapped
from dpr_export.runtime.engines.devices import parse_device
from dpr_export.runtime.engines.nvidia.capture_lock import CAPTURE_LOCK
from dpr_export.runtime.engines.nvidia.driver import compute_capability, gpu_problem
from dpr_export.runtime.engines.nvidia.shape_buckets import (
    MOST_TOKENS,
    Bucket,
    Shape,
    buckets_for,
    corner,
    padded_to,
    true_shape,
)
from dpr_export.runtime.engines.session import LONGEST, Feeds, OnDevice, Outputs
from dpr_export.runtime.engines.worker_thread import WorkerThread

try:
    import onnxruntime as ort
except ImportError as error:
    raise ImportError('onnxruntime-gpu is not installed: pip install "dpr-export[gpu]"') from error

_PROVIDER = "CUDAExecutionProvider"
_LIBRARIES = ("onnxruntime_providers_shared", "onnxruntime_providers_cuda")
_CUDNN = "cudnn64_9.dll" if sys.platform == "win32" else "libcudnn.so.9"  # which it loads in the first call
_MACHINE_CODE = {"1.31.1": ("7.5", "8.0", "8.6", "8.9", "9.0", "12.0")}  # of releases that have none for other GPUs
_ERRORS_ONLY = 3
_GRAPH_ID = "gpu_graph_id"
_UNRECORDED = "-1"
_LENGTH_MULTIPLE = 8  # what tensor cores multiply at a time
_OUT_OF_MEMORY = ("out of memory", "Failed to allocate memory", "ALLOC_FAILED")
_MOST_CAPTURES = 3  # of one size that break off, after which it is not recorded any more


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A size that is recorded: its buffers, on the device, and what runs it."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]
    binding: Any
    options: Any


class OnnxRuntimeCudaSession:
    """A graph loaded by ONNX Runtime on a GPU.

    Args:
        graph: the .onnx file.
        device: "cuda", "cuda:1".
        threads: how many threads of the CPU; the GPU needs one.
        precision: computed as the graph says; "bf16" is refused.
        cache: nothing is compiled that could be kept.
        longest: the longest sequence that the model takes.

    Raises:
        ValueError: no such precision.
        RuntimeError: the GPU cannot be used, and the message says what is missing; or ONNX Runtime refused the graph.
    """

    def __init__(
        self,
        graph: Path,
        *,
        device: str = "cuda",
        threads: int = 1,  # noqa: ARG002 (every session takes it)
        precision: str = "fp32",
        cache: str | None = None,  # noqa: ARG002
        longest: int = LONGEST,
    ) -> None:
        if precision == "bf16":
            raise ValueError("precision 'bf16' requires backend 'openvino'")
        self._index = parse_device(device)[1]
        if problem := cuda_problem(self._index):
            raise RuntimeError(f"ONNX Runtime cannot use cuda:{self._index}: {problem}")
        self._thread = WorkerThread("dpr-export-cuda")
        try:
            self._session, recording = self._thread.run(lambda: _open(graph, self._index))
        except BaseException:
            self._thread.end()
            raise
        self._buckets: tuple[Bucket, ...] = buckets_for("question", longest) if recording else ()
        self._recorded: dict[tuple[int, int], _Recorded] = {}
        self._broken_captures: Counter[tuple[int, int]] = Counter()
        self._graph_ids = count(1)
        self.input_names = tuple(value.name for value in self._session.get_inputs())
        self._shapes: dict[str, Shape] = {
            value.name: tuple(size if isinstance(size, int) else None for size in value.shape)
            for value in self._session.get_outputs()
        }
        self.output_names = tuple(self._shapes)
        self.device = f"cuda:{self._index}"
        self.batch_tokens = MOST_TOKENS
        self.length_multiple = _LENGTH_MULTIPLE
        self.pads = False
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
            if recorded:  # whose buffers the next call of that size overwrites
                values = {name: self._copied(value) for name, value in values.items()}
        size = feeds["attention_mask"].shape
        return {name: OnDevice(values[name], true_shape(shape, *size)) for name, shape in self._shapes.items()}

    def run_all(self, calls: Iterable[Feeds]) -> Iterator[Outputs]:
        return overlapped(self.run, calls, workers=1)

    @contextmanager
    def _computed(self, feeds: Feeds) -> Iterator[tuple[dict[str, Any], bool]]:
        """Compute a call, and hold the capture lock while its outputs are read.

        Yields:
            the outputs on the device, and whether they are in the buffers of a recorded size.
        """
        size = self._size(feeds)
        is_new = size is not None and size not in self._recorded and self._broken_captures[size] < _MOST_CAPTURES
        with (
            _in_one_line(self.device, feeds["attention_mask"].shape),
            CAPTURE_LOCK.capture() if is_new else CAPTURE_LOCK.call(),
        ):
            if size is not None and is_new:
                outputs = self._capture(feeds, size)
            elif size in self._recorded:
                outputs = self._replayed(self._recorded[size], feeds, size)
            else:
                outputs = None
            yield (self._unrecorded(feeds), False) if outputs is None else (outputs, True)

    def _capture(self, feeds: Feeds, size: tuple[int, int]) -> dict[str, Any] | None:
        """Record a size in its first call, and compute that; None where the capture broke off."""
        new = self._buffers(*size)
        try:
            outputs = self._replayed(new, feeds, size)
        except Exception:  # ONNX Runtime's exceptions share no base class of their own
            self._broken_captures[size] += 1
            return None
        self._recorded[size] = new
        return outputs

    def _replayed(self, recorded: _Recorded, feeds: Feeds, size: tuple[int, int]) -> dict[str, Any]:
        for name, array in padded_to(feeds, *size).items():
            recorded.inputs[name].update_inplace(array)
        self._session.run_with_iobinding(recorded.binding, recorded.options)
        recorded.binding.synchronize_outputs()
        return recorded.outputs

    def _size(self, feeds: Feeds) -> tuple[int, int] | None:
        """The recorded size that a call is padded to; None where it is computed at its own."""
        rows, length = feeds["attention_mask"].shape
        bucket = next((bucket for bucket in self._buckets if length <= bucket.length), None)
        if bucket is None or not feeds["attention_mask"].any(axis=1).all():
            return None
        padded, recorded = bucket.rows_for(rows)
        return (padded, bucket.length) if recorded else None

    def _buffers(self, rows: int, length: int) -> _Recorded:
        """Buffers of one size, bound; the first run that is given its number records it."""
        binding = self._session.io_binding()
        inputs = {name: self._empty((rows, length), np.int64) for name in self.input_names}
        outputs = {
            name: self._empty(true_shape(shape, rows, length), np.float32) for name, shape in self._shapes.items()
        }
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        return _Recorded(inputs, outputs, binding, _run_options(str(next(self._graph_ids))))

    def _unrecorded(self, feeds: Feeds) -> dict[str, Any]:
        """Outputs are in memory of their own: what ONNX Runtime allocates, recordings may have computed in."""
        binding, size = self._session.io_binding(), feeds["attention_mask"].shape
        outputs = {name: self._empty(true_shape(shape, *size), np.float32) for name, shape in self._shapes.items()}
        for name in self.input_names:
            value = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(feeds[name]), "cuda", self._index)
            binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        self._session.run_with_iobinding(binding, _run_options(_UNRECORDED))
        binding.synchronize_outputs()
        return outputs

    def _empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype, "cuda", self._index)

    def _copied(self, value: Any) -> Any:
        copy = self._empty(tuple(value.shape()), np.float32)
        copy.update_inplace(value)
        return copy

    def close(self) -> None:
        self._thread.end(self._release)

    def _release(self) -> None:
        with CAPTURE_LOCK.call():
            self._recorded = {}
            self._session = None


def cuda_problem(index: int) -> str | None:
    """Why ONNX Runtime cannot use GPU number `index`, and what to install; None where it can."""
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
    """Whether machine code runs on a GPU: one of the same major compute capability, and of no lower minor.

    >>> _runs_on("8.0", "8.9"), _runs_on("8.9", "8.6"), _runs_on("9.0", "10.0")
    (True, False, False)
    """
    (code_major, code_minor), (major, minor) = code.split("."), capability.split(".")
    return code_major == major and int(code_minor) <= int(minor)


def _open(graph: Path, index: int) -> tuple[Any, bool]:
    """The graph, loaded, and whether its calls can be recorded, which takes all of its operators to be on the GPU."""
    with CAPTURE_LOCK.call():
        try:
            return _loaded(graph, index, recording=True), True
        except RuntimeError:
            return _loaded(graph, index, recording=False), False


def _loaded(graph: Path, index: int, recording: bool) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_mem_pattern = False  # a plan kept for each shape would take the arena's memory a second time
    options.log_severity_level = _ERRORS_ONLY if not recording else _ERRORS_ONLY + 1
    provider = {
        "device_id": str(index),
        "enable_cuda_graph": str(int(recording)),
        "use_tf32": "0",  # float32 is float32
        "arena_extend_strategy": "kSameAsRequested",
    }
    try:
        session = ort.InferenceSession(str(graph), options, providers=[(_PROVIDER, provider)], enable_fallback=0)
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise RuntimeError(f"ONNX Runtime cannot load {graph} on cuda:{index}: {error}") from None
    if _PROVIDER not in session.get_providers():
        raise RuntimeError(f"ONNX Runtime did not get {_PROVIDER}, only {', '.join(session.get_providers())}")
    return session


def _run_options(graph_id: str) -> Any:
    options = ort.RunOptions()
    options.add_run_config_entry(_GRAPH_ID, graph_id)
    return options


@contextmanager
def _in_one_line(device: str, size: tuple[int, ...]) -> Iterator[None]:
    """Turn what ONNX Runtime raises into one line that says what to do."""
    try:
        yield
    except Exception as error:  # as above
        where = f"on {device}, at {size[0]} x {size[1]}"
        if any(sign in str(error) for sign in _OUT_OF_MEMORY):
            raise RuntimeError(f"out of memory {where}: give smaller batches (batch_tokens)") from None
        raise RuntimeError(f"ONNX Runtime failed {where}: {' '.join(str(error).split())}") from None
