"""The OpenVINO session, on the CPU: the fastest engine for BERT on x86.

A small call runs on all threads, for the lowest latency. Many calls run at the same time with one thread each, which is
faster: threads that share a call wait for each other in every layer. A call with many rows is split for that.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from queue import Empty, LifoQueue
from tempfile import mkdtemp
from threading import Lock
from typing import Any
from weakref import finalize

import numpy as np

from dpr_export.models.artifact.graph_files import graph_files
from dpr_export.models.telemetry import no_telemetry
from dpr_export.runtime.engines.compile_cache import kept_folder
from dpr_export.runtime.engines.concurrency import overlapped
from dpr_export.runtime.engines.forking import PerProcess
from dpr_export.runtime.engines.processors import openvino_multiplies_int8
from dpr_export.runtime.engines.session import Feeds, Outputs, Session

try:
    with no_telemetry():
        import openvino as ov
        from openvino import properties
        from openvino.properties import hint
except ImportError as error:
    raise ImportError('openvino is not installed: pip install "dpr-export[openvino]"') from error

# The binding builds its table of NumPy types at first use, and two threads that do so at the same time deadlock. So the
# table is built here, during the import.
ov.Type.i64.to_dtype()

_MIN_BATCHES = 4  # the fewest batches for which a second compiled model, which costs time and memory, is made
_KERNELS = "1024"  # kernels to keep in memory; OpenVINO's default of 5,000 takes hundreds of megabytes
_ONNX = b"\x08"  # the first byte of an ONNX file; for other files OpenVINO's other readers print complaints
# The type to compute in. It is always given: by default OpenVINO uses bfloat16 wherever the processor has it.
_TYPES = {"fp32": ov.Type.f32, "int8": ov.Type.f32, "bf16": ov.Type.bf16}

# OpenVINO 2026.4 multiplies integers well only with VNNI: its Arm kernels give wrong products where weights have a
# scale for each column, and those for AVX2 lose accuracy and are no faster. Elsewhere activations stay in float32,
# which gives the numbers that the graph means.
_IN_FLOAT = {} if openvino_multiplies_int8() else {"LP_TRANSFORMS_MODE": "NO"}

_Compiled = tuple[ov.CompiledModel, LifoQueue[ov.InferRequest]]  # a model, and its requests that are not in use


@dataclass(frozen=True, slots=True)
class _Opened:
    """What one process made of a graph: models by the number of calls that they run at the same time."""

    core: ov.Core = field(default_factory=ov.Core)
    compiled: dict[int, _Compiled] = field(default_factory=dict)
    compiling: Any = field(default_factory=Lock)


class OpenVinoSession(Session):
    """A graph compiled by OpenVINO. Arguments and exceptions are as for `open_session`.

    The compiled model is kept in the user's cache folder, which makes the next process start several times faster.
    """

    device = "cpu"
    batch_tokens = 1024
    length_multiple = 8  # kernels are compiled for each new shape, in up to 40 ms; this leaves 64 lengths

    def __init__(self, graph: Path, *, threads: int, precision: str = "fp32", cache: str | None = None) -> None:
        self._opened = PerProcess(_Opened)
        core = self._opened.get().core
        if precision == "bf16" and "BF16" not in core.get_property("CPU", properties.device.capabilities()):
            raise RuntimeError("precision is 'bf16', and this processor has no bfloat16")
        folder = kept_folder("openvino", cache) if cache else None
        self._graph = self._within_one_folder(graph, folder)
        self._options = {
            hint.inference_precision(): _TYPES[precision],
            properties.inference_num_threads(): threads,
            "CPU_RUNTIME_CACHE_CAPACITY": _KERNELS,
            **_IN_FLOAT,
            hint.enable_cpu_pinning(): False,  # pinned, the threads of two processes share the first processors
        }
        if folder:
            self._options[properties.cache_dir()] = str(folder)
        self._threads = threads
        self._min_batches = max(_MIN_BATCHES, threads)
        model, _ = self._compiled_for(streams=1)
        self.input_names = tuple(port.get_any_name() for port in model.inputs)
        self.output_names = tuple(port.get_any_name() for port in model.outputs)
        self.engine = f"openvino {ov.__version__.split('-')[0]} CPU {precision}"

    def _within_one_folder(self, graph: Path, kept: Path | None) -> Path:
        """Return a path of the graph that OpenVINO can read: it refuses data behind a link out of the graph's folder.

        In the hub's cache the graph and its data are links into one folder, where they have other names. Both are
        linked once more, or copied, into the cache folder; without one, into a folder that ends with the session.
        """
        real = [path.resolve() for path in graph_files(graph)]
        if len(real) == 1 or real[1].parent == graph.parent.resolve() or real[0].parent != real[1].parent:
            return graph
        folder = kept / "graph" if kept else Path(mkdtemp(prefix="dpr-export-"))
        if not kept:
            finalize(self, shutil.rmtree, folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
        for path, target in zip(real, graph_files(graph), strict=True):
            _link_or_copy(path, folder / target.name)
        return folder / graph.name

    def run(self, feeds: Feeds) -> Outputs:
        rows, length = feeds["attention_mask"].shape
        if self._threads == 1 or rows % self._threads or rows * length < self._min_batches * self.batch_tokens:
            return self._run(feeds, streams=1)
        rounds = -(-rows * length // (self.batch_tokens * self._threads))  # calls of each thread, of one batch each
        arrays = [np.array_split(feeds[name], min(rows, rounds * self._threads)) for name in feeds]
        parts = (dict(zip(feeds, part, strict=True)) for part in zip(*arrays, strict=True))
        found = list(overlapped(partial(self._run, streams=self._threads), parts, workers=self._threads))
        return {name: np.concatenate([part[name] for part in found]) for name in self.output_names}

    def run_all(self, calls: Iterable[Feeds]) -> Iterator[Outputs]:
        first = list(islice(calls := iter(calls), self._min_batches))
        if len(first) < self._min_batches:
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
        """Return the model that runs `streams` calls at the same time; compile it at first use.

        A model that is compiled already is returned at once, even while another is being compiled.
        """
        opened = self._opened.get()
        if streams not in opened.compiled:
            with opened.compiling:
                if streams not in opened.compiled:
                    opened.compiled[streams] = self._compile(opened.core, streams)
        return opened.compiled[streams]

    def _compile(self, core: ov.Core, streams: int) -> _Compiled:
        options = {**self._options, properties.num_streams(): streams}
        with self._graph.open("rb") as file:
            if file.read(1) != _ONNX:
                raise RuntimeError(f"OpenVINO cannot load {self._graph}: it is no ONNX graph")
        try:
            return core.compile_model(str(self._graph), "CPU", options), LifoQueue()
        except RuntimeError as error:
            raise RuntimeError(f"OpenVINO cannot load {self._graph}: {_last_line(error)}") from None

    def close(self) -> None:
        self._opened.close()


def _link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it to another file system, unless that was done before."""
    if target.exists() and _size_and_time(target) == _size_and_time(source):
        return
    making = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        os.link(source, making)
    except OSError:
        shutil.copy2(source, making)
    making.replace(target)


def _size_and_time(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _last_line(error: RuntimeError) -> str:
    """The last line of one of OpenVINO's long messages, which says what went wrong."""
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), "it does not say why").strip()
