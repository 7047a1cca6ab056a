"""The files that results are kept in: all that one holds is of one machine, and of the same versions of the packages.

Parts of a benchmark may be run one at a time, and are put beside those of earlier runs. What has changed in this
project's own code meanwhile is for whoever saves them to know.
"""

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Results = dict[str, Any]
_PACKAGES = "dpr-export torch transformers onnxruntime openvino nncf ctranslate2 numpy".split()


def about(quick: bool, threads: int) -> Results:
    """The machine, the versions, the time."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "threads": threads,
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "quick": quick,
    }


def _processor() -> str:
    """The processor's name, family and model: some names are shared by several generations."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if "model name" not in values:
        return platform.machine()
    return f"{values['model name']} (family {values.get('cpu family')}, model {values.get('model')})"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def earlier(about: Results, path: Path) -> dict[str, Any]:
    """The results that a file holds, which must be of this machine.

    Raises:
        ValueError: they are of another machine or of other versions.
    """
    held: Results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if held and any(held["about"][name] != about[name] for name in ("processor", "threads", "versions", "quick")):
        raise ValueError(f"{path} is of another machine, or of other versions: remove it first")
    return held


def write(results: Results, path: Path) -> None:
    """Write a file of results, in a folder that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
