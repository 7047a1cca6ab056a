"""A session: one graph, loaded by one engine, ready to run.

This protocol is all that the rest of the runtime knows of an engine. Each engine implements it in a file of its own,
imported when it is first asked for; `fake.py` implements it for tests.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Feeds = dict[str, NDArray[np.int64]]
Outputs = dict[str, NDArray[Any]]


class Session(Protocol):
    """One graph on one device.

    Attributes:
        input_names: the graph's inputs, in order.
        output_names: the graph's outputs, in order.
        device: where it runs: "cpu".
        engine: the engine's name and version, for people.
    """

    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    device: str
    engine: str

    def run(self, feeds: Feeds) -> Outputs:
        """Compute every output. Safe to call from several threads at once.

        Args:
            feeds: int64 (batch, sequence) for each of `input_names`.

        Raises:
            RuntimeError: the session is closed.
        """

    def close(self) -> None:
        """Free the graph's memory. Closing twice is allowed."""


_SESSION_CLASSES = {
    "onnxruntime": ("dpr_export.runtime.onnxruntime", "OnnxRuntimeSession"),
    "openvino": ("dpr_export.runtime.openvino", "OpenVinoSession"),
}


def open_session(backend: str, graph: Path, *, device: str, threads: int) -> Session:
    """Load a graph with the engine of `backend` on `threads` threads of `device`.

    Raises:
        ImportError: the engine is not installed; the message says what to install.
        RuntimeError: the engine refused the graph, or did not get the device.
    """
    module, name = _SESSION_CLASSES[backend]
    session_class: Callable[..., Session] = getattr(import_module(module), name)
    return session_class(graph, device=device, threads=threads)
