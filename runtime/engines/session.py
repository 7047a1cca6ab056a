"""A session: one graph, loaded by one engine on one device, ready to run.

This protocol is all that the rest of the runtime knows of an engine. Each engine implements it in a file of its own,
imported when it is first asked for; `fake.py` implements it for tests.
"""

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from numpy.typing import NDArray

from dpr_export.runtime.engines.devices import parse_device

Feeds = dict[str, NDArray[Any]]  # int64 (batch, sequence) each; inputs_embeds: float32 (batch, sequence, hidden)
Outputs = dict[str, NDArray[Any]]


class Session(Protocol):
    """One graph on one device.

    Attributes:
        input_names: the graph's inputs, in order.
        output_names: the graph's outputs, in order.
        device: where it runs: "cpu", "cuda:0".
        engine: the engine's name and version, for people.
        batch_tokens: how many tokens, padding included, a batch of `run_all` best has.
        length_multiple: what lengths are best rounded up to a multiple of; 1 where none is better.
        pads: whether calls are padded to sizes of its own, which changes a row that is masked altogether.
    """

    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    device: str
    engine: str
    batch_tokens: int
    length_multiple: int
    pads: bool

    def run(self, feeds: Feeds) -> Outputs:
        """Compute every output. Safe to call from several threads at once.

        Args:
            feeds: int64 (batch, sequence) for each of `input_names`; inputs_embeds are float32 (batch, sequence,
                hidden).

        Raises:
            RuntimeError: the session is closed.
        """

    def run_all(self, calls: Iterable[Feeds]) -> Iterator[Outputs]:
        """Compute many calls, and yield their outputs in order.

        As many are computed at once as is fastest; the next are drawn from `calls` meanwhile.
        """

    def close(self) -> None:
        """Free the graph's memory. Closing twice is allowed."""


class OnDevice(NamedTuple):
    """An output that stayed on a GPU.

    Attributes:
        array: what gives it to other libraries by DLPack (https://dmlc.github.io/dlpack/latest); it may be padded.
        shape: the corner of it that is meant.
    """

    array: Any
    shape: tuple[int, ...]


@runtime_checkable
class DeviceSession(Session, Protocol):
    """A session on a GPU, which can leave its outputs there."""

    def run_on_device(self, feeds: Feeds) -> dict[str, OnDevice]:
        """As `run`, but the outputs stay on the device. They are whole when this returns, and the caller's own."""


SESSION_CLASSES = {
    ("onnxruntime", "cpu"): ("dpr_export.runtime.engines.onnxruntime", "OnnxRuntimeSession"),
    ("onnxruntime", "cuda"): ("dpr_export.runtime.engines.nvidia.onnxruntime_cuda", "OnnxRuntimeCudaSession"),
    ("openvino", "cpu"): ("dpr_export.runtime.engines.openvino", "OpenVinoSession"),
    ("tensorrt", "cuda"): ("dpr_export.runtime.engines.nvidia.tensorrt_session", "TensorRtSession"),
}
ENGINES = tuple(dict.fromkeys(backend for backend, _ in SESSION_CLASSES))
LONGEST = 512


def open_session(
    backend: str,
    graph: Path,
    *,
    device: str = "cpu",
    threads: int,
    precision: str = "fp32",
    cache: str | None = None,
    longest: int = LONGEST,
) -> Session:
    """Load a graph with the engine of `backend`.

    Args:
        backend: "onnxruntime", "openvino" or "tensorrt".
        graph: the .onnx file.
        device: "cpu", or for onnxruntime and tensorrt "cuda", "cuda:1".
        threads: how many threads of the CPU to use.
        precision: "bf16" computes in bfloat16 what the graph has in float32; anything else as the graph says.
        cache: the graph's SHA-256, under which what the engine compiles is kept in the user's cache folder; None keeps
            nothing.
        longest: the longest sequence that the model takes.

    Raises:
        ImportError: the engine is not installed; the message says what to install.
        ValueError: the backend has no such device or precision.
        RuntimeError: the engine refused the graph, or did not get the device; the message says what is missing.
    """
    kind, _ = parse_device(device)
    if (backend, kind) not in SESSION_CLASSES:
        devices = ", ".join(device for engine, device in SESSION_CLASSES if engine == backend)
        raise ValueError(f"device is {device!r}: the {backend} backend runs on {devices}")
    module, name = SESSION_CLASSES[backend, kind]
    session_class: Callable[..., Session] = getattr(import_module(module), name)
    return session_class(graph, device=device, threads=threads, precision=precision, cache=cache, longest=longest)
