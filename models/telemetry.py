"""Import libraries that report their use to their makers, without the report.

Some do it from the import on, so every import of them is made in the context below. What a user has set stays as it is.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

# The variables by which libraries let themselves be silenced. They stay set, because Ray reads its one later, as may
# other releases, and because worker processes inherit them.
VARIABLES = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime: what a model looks like, and the machine
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, transformers: installed libraries, beside each download
    "RAY_USAGE_STATS_ENABLED": "0",  # ray: the cluster and the libraries that use it
}
# openvino and nncf report through this package, from a thread of its own, and no variable turns it off. While they are
# imported, it is made to look missing.
_PACKAGE = "openvino_telemetry"
_HIDING: list[str] = []  # an entry for each context that hides it: threads import at the same time
_LOCK = Lock()
SILENCED = ("onnxruntime", "openvino", "nncf", "ray", "huggingface_hub", "transformers", "optimum")


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Import a library of `SILENCED` in this context: it then reports nothing, in this process and in its children.

    A library that the program imported before stays as it is.
    """
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    with _LOCK:
        hides = sys.modules.get(_PACKAGE) is None  # not imported by the program
        if hides:
            _HIDING.append(_PACKAGE)
            sys.modules[_PACKAGE] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        with _LOCK:
            if hides:
                _HIDING.pop()
                if not _HIDING:
                    del sys.modules[_PACKAGE]
