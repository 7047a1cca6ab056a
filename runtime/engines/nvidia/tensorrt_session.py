"""The TensorRT session: runs an engine that `dpr-runtime build` made on an NVIDIA GPU.

One call runs at a time, and none while ONNX Runtime captures a CUDA graph: each would break the other. After a CUDA
error other than out of memory, the process can mostly not use the device any more, and each later call says so.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Self
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.artifact.folder import hash_graph
from dpr_export.runtime.engines.devices import parse_device
from dpr_export.runtime.engines.forking import never_free, watch_forks
from dpr_export.runtime.engines.nvidia.capture_lock import CAPTURE_LOCK
from dpr_export.runtime.engines.nvidia.cuda import CudaError, Gpu, Handle, view
from dpr_export.runtime.engines.nvidia.dlpack import CUDA, DeviceArray
from dpr_export.runtime.engines.nvidia.engine_files import (
    EngineRecord,
    kernels_path,
    read_cached,
    read_engine,
    write_cached,
)
from dpr_export.runtime.engines.nvidia.engine_lookup import check_engine, engine_for
from dpr_export.runtime.engines.nvidia.shape_buckets import (
    MOST_TOKENS,
    Piece,
    buffer_sizes,
    corner,
    pieces,
    true_shape,
)
from dpr_export.runtime.engines.nvidia.tensorrt import TensorRt
from dpr_export.runtime.engines.session import DeviceSession, Feeds, OnDevice, Outputs

_INT64, _FLOAT32 = np.dtype(np.int64), np.dtype(np.float32)


class TensorRtSession(DeviceSession):
    """An engine on a GPU. Arguments and exceptions are as for `open_session`; `precision` is for messages alone."""

    batch_tokens = MOST_TOKENS
    pads = True

    def __init__(self, graph: Path, *, device: str = "cuda", precision: str = "fp16", cache: str | None = None) -> None:
        try:
            trt, gpu, path, record = engine_for(cache or hash_graph(graph), parse_device(device)[1])
            engine = read_engine(path, record)
        except (LookupError, OSError, ValueError) as error:
            command = f"dpr-runtime build {graph.parent.parent} --precision {precision}"
            raise RuntimeError(f"{error}: {command}") from None
        self._start(trt, gpu, record, engine, kernels_path(path))

    @classmethod
    def of(cls, trt: TensorRt, gpu: Gpu, record: EngineRecord, engine: bytes) -> Self:
        """Open an engine that was just built, and is not in a file yet."""
        session = cls.__new__(cls)
        session._start(trt, gpu, record, engine, None)
        return session

    def _start(self, trt: TensorRt, gpu: Gpu, record: EngineRecord, engine: bytes, kernels: Path | None) -> None:
        self._trt, self._gpu, self._buckets = trt, gpu, record.key.buckets
        self._lock, self._process = Lock(), os.getpid()
        self._lost: str | None = None
        self._closed = False
        self._contexts: dict[tuple[int, int], Any] = {}
        self._recordings: dict[tuple[int, int], Handle | None] = {}
        self._keeping = ExitStack()
        self._kernels_path, self._kernels = kernels, None
        self._shapes = record.outputs
        self.input_names, self.output_names = record.inputs, tuple(record.outputs)
        try:
            with CAPTURE_LOCK.call(), gpu.current():
                self._runtime, self._engine = trt.load(engine)
                check_engine(self._engine, record)
                self._kernels = trt.kernel_cache(self._engine, read_cached(kernels) if kernels else b"")
                self._allocate(record)
        except BaseException:
            self.close()
            raise
        finalize(self, self._keeping.close)
        watch_forks(self)
        self.device = f"cuda:{gpu.index}"
        self.engine = f"{trt.library.name} {trt.version} on {gpu.name}"

    def _allocate(self, record: EngineRecord) -> None:
        """Allocate all memory, for the largest call: each buffer on the device and in pinned memory; and scratch."""
        gpu, engine = self._gpu, self._engine
        sizes = buffer_sizes(self._buckets, record.inputs, record.outputs)
        scratch = max(1, *map(engine.get_device_memory_size_for_profile_v2, range(len(self._buckets))))
        self._stream = self._keep(gpu.new_stream(), gpu.end_stream)
        self._on_device = {name: self._keep(gpu.allocate(size), gpu.free) for name, size in sizes.items()}
        self._pinned = {name: self._keep(gpu.allocate_pinned(size), gpu.free_pinned) for name, size in sizes.items()}
        self._scratch = self._keep(gpu.allocate(scratch), gpu.free), scratch  # shared by all execution contexts
        self._keeping.callback(self._contexts.clear)  # before their memory is freed, and after their recordings

    def _keep(self, handle: int, free: Callable[[int], None]) -> int:
        """Have something freed when the session is closed, and return it."""
        self._keeping.callback(self._gpu.release, free, handle)
        return handle

    def run(self, feeds: Feeds) -> Outputs:
        with self._lock, self._noticing_loss():
            parts = []
            for piece in pieces(feeds, self._buckets):
                self._compute(piece)
                parts.append({name: self._read(name, piece) for name in self._shapes})
        return parts[0] if len(parts) == 1 else {n: np.concatenate([part[n] for part in parts]) for n in self._shapes}

    def run_on_device(self, feeds: Feeds) -> dict[str, OnDevice]:
        rows, length = feeds["attention_mask"].shape
        with self._lock, self._noticing_loss():
            arrays = {name: self._new_array(true_shape(shape, rows, length)) for name, shape in self._shapes.items()}
            first = 0
            for piece in pieces(feeds, self._buckets):
                self._compute(piece)
                for name, array in arrays.items():
                    self._copy_rows(name, piece, array, first)
                self._gpu.synchronize(self._stream)
                first += piece.rows
        return {name: OnDevice(array, array.shape) for name, array in arrays.items()}

    @contextmanager
    def _noticing_loss(self) -> Iterator[None]:
        if os.getpid() != self._process:
            raise RuntimeError("this session is another process's: load the model after forking")
        if self._closed:
            raise RuntimeError("this session is closed")
        if self._lost:
            raise RuntimeError(f"this session's device is lost ({self._lost}): close it, and start a new process")
        try:
            with CAPTURE_LOCK.call(), self._gpu.current():
                yield
        except CudaError as error:
            self._lost = str(error)
            raise

    def _compute(self, piece: Piece) -> None:
        """Compute a piece. Its outputs are then in the buffers, on the device and in pinned memory."""
        for name in self.input_names:
            view(self._pinned[name], piece.feeds[name].shape, _INT64)[...] = piece.feeds[name]
        size = (piece.bucket, len(piece.feeds["attention_mask"]))
        if (recording := self._recordings.get(size)) is not None:
            self._gpu.replay(recording, self._stream)
            self._gpu.synchronize(self._stream)
            return
        context = self._context(*size, piece.recorded)
        self._enqueue(context, *size)
        self._gpu.synchronize(self._stream)
        if piece.recorded and size not in self._recordings and not self._trt.library.own_recording:
            recorded = self._gpu.record(self._stream, lambda: self._enqueue(context, *size))
            if recorded is not None:
                self._keep(recorded, self._gpu.forget)
            self._recordings[size] = recorded

    def _enqueue(self, context: Any, number: int, rows: int) -> None:
        """Add a whole call to the stream: copy the inputs, compute, copy the outputs."""
        length = self._buckets[number].length
        for name in self.input_names:
            size = rows * length * _INT64.itemsize
            self._gpu.copy(self._on_device[name], self._pinned[name], size, self._stream)
        if not context.execute_async_v3(self._stream):
            raise self._trt.failure(f"a call of {rows} x {length}")
        for name, shape in self._shapes.items():
            size = math.prod(true_shape(shape, rows, length)) * _FLOAT32.itemsize
            self._gpu.copy(self._pinned[name], self._on_device[name], size, self._stream)

    def _context(self, number: int, rows: int, recorded: bool) -> Any:
        """The execution context for a size, with its input shapes set.

        A TensorRT recording refers to its context's state, so each recorded size has a context of its own. If the
        library records by itself, the recorded sizes of a length share one, and so do all sizes that are not recorded.
        """
        key = (number, 0 if not recorded else 1 if self._trt.library.own_recording else rows)
        if key not in self._contexts:
            self._contexts[key] = self._new_context(number, recorded)
        context, length = self._contexts[key], self._buckets[number].length
        for name in self.input_names:
            if not context.set_input_shape(name, (rows, length)):
                raise self._trt.failure(f"{name} of {rows} x {length}")
        return context

    def _new_context(self, number: int, recorded: bool) -> Any:
        """Create an execution context for a profile, and give it its memory."""
        context = self._trt.context(self._engine, self._kernels, recorded)
        context.set_device_memory(*self._scratch)
        if not context.set_optimization_profile_async(number, self._stream):
            raise self._trt.failure(f"profile {number}")
        for name, address in self._on_device.items():
            if not context.set_tensor_address(name, address):
                raise self._trt.failure(f"the address of {name}")
        self._gpu.synchronize(self._stream)
        return context

    def _padded_shape(self, name: str, piece: Piece) -> tuple[int, ...]:
        return true_shape(self._shapes[name], *piece.feeds["attention_mask"].shape)

    def _read(self, name: str, piece: Piece) -> NDArray[Any]:
        """Copy an output out of pinned memory, cut to the piece's own rows and length."""
        padded = view(self._pinned[name], self._padded_shape(name, piece), _FLOAT32)
        return padded[corner(true_shape(self._shapes[name], piece.rows, piece.length))].copy()

    def _new_array(self, shape: tuple[int, ...]) -> DeviceArray:
        address = self._gpu.allocate(max(1, math.prod(shape)) * _FLOAT32.itemsize)
        free = partial(self._gpu.release, self._gpu.free)  # the array may outlive the session
        return DeviceArray(address, shape, (CUDA, self._gpu.index), free)

    def _copy_rows(self, name: str, piece: Piece, array: DeviceArray, first: int) -> None:
        """Copy a piece's own rows, cut to their own length, into the array from its row `first` on."""
        row = math.prod(array.shape[1:]) * _FLOAT32.itemsize
        pitch = math.prod(self._padded_shape(name, piece)[1:]) * _FLOAT32.itemsize
        target = array.address + first * row
        self._gpu.copy_corner(target, self._on_device[name], pitch, (row, piece.rows), self._stream)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if os.getpid() != self._process:  # nothing of it is this process's
                return
            try:
                if self._contexts and self._kernels is not None and self._kernels_path and not self._lost:
                    with self._gpu.current(), suppress(TypeError):  # serialize returns None if it fails
                        write_cached(self._kernels_path, bytes(self._kernels.serialize()))
            finally:
                with CAPTURE_LOCK.call():
                    self._keeping.close()
                    self._kernels = self._engine = self._runtime = None

    def _leave_to_parent(self) -> None:
        never_free((self._keeping.pop_all(), dict(vars(self))))
        self._lock = Lock()  # another thread of the parent may have held it
