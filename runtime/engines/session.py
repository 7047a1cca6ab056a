"""A session: one graph, loaded by one engine on one device, ready to run.

This protocol is all that the rest of the runtime knows of an engine. Each engine implements it in a file of its own,
which is imported when a session is first opened.
"""

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from numpy.typing import NDArray

from dpr_export.runtime.engines.concurrency import overlapped
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
        length_multiple: what lengths are best rounded up to a multiple of.
        pads: whether the session pads calls to its own sizes, which changes the outputs of a fully masked row.
    """

    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    device: str
    engine: str
    batch_tokens: int
    length_multiple: int = 1
    pads: bool = False

    def run(self, feeds: Feeds) -> Outputs:
        """Compute every output. Safe to call from several threads at once.

        Args:
            feeds: an array for each of `input_names`, shaped as `Feeds` says.

        Raises:
            RuntimeError: the session is closed, or the engine failed.
        """

    def run_all(self, calls: Iterable[Feeds]) -> Iterator[Outputs]:
        """Compute many calls, and yield their outputs in order; the next calls are drawn meanwhile.

        An engine that is faster with several calls at once computes several.
        """
        return overlapped(self.run, calls, workers=1)

    def close(self) -> None:
        """Free the graph's memory. Closing twice is allowed."""


class OnDevice(NamedTuple):
    """An output that stayed on a GPU."""

    array: Any  # for other libraries, by DLPack (https://dmlc.github.io/dlpack/latest); it may be padded
    shape: tuple[int, ...]  # without padding


@runtime_checkable
class DeviceSession(Session, Protocol):
    """A session on a GPU, which can leave its outputs there."""

    def run_on_device(self, feeds: Feeds) -> dict[str, OnDevice]:
        """As `run`, but the outputs stay on the device. They are complete, and no later call overwrites them."""


# By backend and kind of device: the module and class of the session, and the options of `open_session` that it takes.
SESSION_CLASSES = {
    ("onnxruntime", "cpu"): ("onnxruntime", "OnnxRuntimeSession", ("threads",)),
    ("onnxruntime", "cuda"): ("nvidia.onnxruntime_cuda", "OnnxRuntimeCudaSession", ("device", "longest")),
    ("openvino", "cpu"): ("openvino", "OpenVinoSession", ("threads", "precision", "cache")),
    ("tensorrt", "cuda"): ("nvidia.tensorrt_session", "TensorRtSession", ("device", "precision", "cache")),
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
        cache: the SHA-256 of the graph with its weights, under which what the engine compiles is kept in the user's
            cache folder; None keeps nothing.
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
    if precision == "bf16" and backend != "openvino":
        raise ValueError("precision 'bf16' requires backend 'openvino'")
    options = {"device": device, "threads": threads, "precision": precision, "cache": cache, "longest": longest}
    module, name, taken = SESSION_CLASSES[backend, kind]
    session_class: Callable[..., Session] = getattr(import_module(f"dpr_export.runtime.engines.{module}"), name)
    return session_class(graph, **{option: options[option] for option in taken})
