"""The TensorRT session: an engine that `dpr-runtime build` made, run on an NVIDIA GPU.

All memory is allocated once, for the largest call of the table in `shape_buckets.py`: device memory for the inputs, the
outputs and the scratch space that all execution contexts share, and pinned host memory, which the GPU copies from and
to by itself. One call runs at a time, on the session's stream, and none while ONNX Runtime captures a CUDA graph: each
would break the other. Each length, and each recorded size, has an execution context, made in its first call. A small
call is recorded as a CUDA graph, copies included, and replayed from then on; TensorRT-RTX records what it computes by
itself.

An error of CUDA that is not about memory mostly means that the device is lost to the process: the session says so from
then on, and can be closed.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Self
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.artifact.atomic_writing import atomic_file
from dpr_export.models.artifact.folder import hash_file
from dpr_export.runtime.engines.concurrency import overlapped
from dpr_export.runtime.engines.devices import parse_device
from dpr_export.runtime.engines.nvidia.capture_lock import CAPTURE_LOCK
from dpr_export.runtime.engines.nvidia.cuda import Address, CudaError, Gpu, Handle, view
from dpr_export.runtime.engines.nvidia.dlpack import CUDA, DeviceArray
from dpr_export.runtime.engines.nvidia.engine_files import EngineRecord, kernels_path, read_engine
from dpr_export.runtime.engines.nvidia.engine_lookup import check_engine, engine_for
from dpr_export.runtime.engines.nvidia.shape_buckets import MOST_TOKENS, Piece, joined, pieces, plan_memory, true_shape
from dpr_export.runtime.engines.nvidia.tensorrt import TensorRt
from dpr_export.runtime.engines.session import LONGEST, Feeds, OnDevice, Outputs

_INT64, _FLOAT32 = np.dtype(np.int64), np.dtype(np.float32)


class TensorRtSession:
    """An engine, loaded.

    Args:
        graph: the .onnx file that the engine was built from, in an exported folder.
        device: "cuda", "cuda:1".
        threads: how many threads of the CPU; the GPU needs one.
        precision: computed as the graph says; it is the variant's, for messages.
        cache: the graph's SHA-256, by which the engine is found; None: it is computed.
        longest: the engine knows what it takes.

    Raises:
        ImportError: a library is not installed; the message says what to install.
        RuntimeError: the GPU cannot be used; there is no engine that will do, and which command builds one; or the
            device's memory is too small.
    """

    def __init__(
        self,
        graph: Path,
        *,
        device: str = "cuda",
        threads: int = 1,  # noqa: ARG002 (every session takes it)
        precision: str = "fp16",
        cache: str | None = None,
        longest: int = LONGEST,  # noqa: ARG002
    ) -> None:
        try:
            trt, gpu, path, record = engine_for(cache or hash_file(graph).sha256, parse_device(device)[1])
            engine = read_engine(path, record)
        except (LookupError, OSError, ValueError) as error:
            command = f"dpr-runtime build {graph.parent.parent} --precision {precision}"
            raise RuntimeError(f"{error}: {command}") from None
        self._start(trt, gpu, record, engine, kernels_path(path))

    @classmethod
    def of(cls, trt: TensorRt, gpu: Gpu, record: EngineRecord, engine: bytes) -> Self:
        """A session of an engine that was just built, and is not in a file yet."""
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
                self._kernels = trt.kernel_cache(self._engine, _kept(kernels) if kernels else b"")
                self._allocate(record)
        except BaseException:
            self.close()
            raise
        finalize(self, self._keeping.close)
        self.device = f"cuda:{gpu.index}"
        self.batch_tokens = MOST_TOKENS
        self.length_multiple = 1
        self.pads = True
        self.engine = f"{trt.library.name} {trt.version} on {gpu.name}"

    def _allocate(self, record: EngineRecord) -> None:
        """All the memory that the session will ever have."""
        gpu, engine = self._gpu, self._engine
        scratch = [engine.get_device_memory_size_for_profile_v2(number) for number in range(len(self._buckets))]
        self.memory = plan_memory(self._buckets, record.inputs, record.outputs, scratch)
        sizes = {**self.memory.inputs, **self.memory.outputs}
        kept = partial(_kept_until_closed, self._keeping, gpu)
        self._stream = kept(gpu.new_stream(), gpu.end_stream)
        self._on_device = {name: kept(gpu.allocate(size), gpu.free) for name, size in sizes.items()}
        self._pinned = {name: kept(gpu.allocate_pinned(size), gpu.free_pinned) for name, size in sizes.items()}
        self._scratch = kept(gpu.allocate(max(1, self.memory.scratch)), gpu.free)
        self._keeping.callback(self._contexts.clear)  # before their memory is freed, and after their recordings

    def run(self, feeds: Feeds) -> Outputs:
        with self._lock, self._noticing_loss():
            sizes, parts = [], []
            for piece in pieces(feeds, self._buckets):
                self._compute(piece)
                sizes.append((piece.rows, piece.length))
                parts.append({name: self._read(name, piece).copy() for name in self._shapes})
        return joined(parts, self._shapes, sizes)

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

    def run_all(self, calls: Iterable[Feeds]) -> Iterator[Outputs]:
        return overlapped(self.run, calls, workers=1)

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
        """Compute a piece; its outputs are then in the buffers, on the device and pinned."""
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
                _kept_until_closed(self._keeping, self._gpu, recorded, self._gpu.forget)
            self._recordings[size] = recorded

    def _enqueue(self, context: Any, number: int, rows: int) -> None:
        """Give a call's whole way to the stream: copy in, compute, copy out."""
        length = self._buckets[number].length
        for name in self.input_names:
            size = rows * length * _INT64.itemsize
            self._gpu.copy(self._on_device[name], self._pinned[name], size, self._stream)
        if not context.execute_async_v3(self._stream):
            raise self._trt.failure(f"a call of {rows} x {length}")
        for name, shape in self._shapes.items():
            size = int(np.prod(true_shape(shape, rows, length))) * _FLOAT32.itemsize
            self._gpu.copy(self._pinned[name], self._on_device[name], size, self._stream)

    def _context(self, number: int, rows: int, recorded: bool) -> Any:
        """The execution context for a size, with its shapes set.

        What is recorded has a context of its own, since TensorRT's recordings hold a context's state, or one for each
        length where the library records by itself; all other calls of a length share one.
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
        """An execution context of a profile, with its memory."""
        context = self._trt.context(self._engine, self._kernels, recorded)
        context.set_device_memory(self._scratch, max(1, self.memory.scratch))
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
        return view(self._pinned[name], self._padded_shape(name, piece), _FLOAT32)

    def _new_array(self, shape: tuple[int, ...]) -> DeviceArray:
        address = self._gpu.allocate(max(1, int(np.prod(shape))) * _FLOAT32.itemsize)
        return DeviceArray(address, shape, (CUDA, self._gpu.index), _free_late(self._gpu))

    def _copy_rows(self, name: str, piece: Piece, array: DeviceArray, first: int) -> None:
        """Copy a piece's own rows, cut to their own length, into their place."""
        row = int(np.prod(array.shape[1:])) * _FLOAT32.itemsize
        pitch = int(np.prod(self._padded_shape(name, piece)[1:])) * _FLOAT32.itemsize
        target = array.address + first * row
        self._gpu.copy_corner(target, self._on_device[name], pitch, (row, piece.rows), self._stream)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if os.getpid() != self._process:  # nothing of it is this process's
                self._keeping.pop_all()
                return
            try:
                if self._contexts and self._kernels is not None and self._kernels_path and not self._lost:
                    with self._gpu.current():
                        _keep(self._kernels_path, self._kernels)
            finally:
                with CAPTURE_LOCK.call():
                    self._keeping.close()
                    self._kernels = self._engine = self._runtime = None


def _kept_until_closed(keeping: ExitStack, gpu: Gpu, handle: int, free: Callable[[int], None]) -> int:
    def freed() -> None:
        with suppress(CudaError), gpu.current():  # of a lost device nothing can be freed, nor need be
            free(handle)

    keeping.callback(freed)
    return handle


def _free_late(gpu: Gpu) -> Callable[[Address], None]:
    """What frees an array that may outlive its session."""

    def free(address: Address) -> None:
        with suppress(RuntimeError), gpu.current():
            gpu.free(address)

    return free


def _kept(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _keep(path: Path, kernels: Any) -> None:
    """Keep the kernels that were compiled; a folder that cannot be written is done without."""
    with suppress(OSError, TypeError), atomic_file(path) as file:  # what cannot be had is None
        file.write(bytes(kernels.serialize()))
