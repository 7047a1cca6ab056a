"""The commands, as those who are attacked run them: watched for what they say, what they take, and what they touch."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpr_export.models.artifact.folder import hash_file

BIN = Path(sys.executable).parent
LIMIT = 2000.0  # MB: what a command may take at the most; importing PyTorch takes a quarter of it
# The peak memory of a process counts what its parent had when it was forked: this stands between pytest and a command.
WATCHER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(f"\\n{code} {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}")
"""


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended: its exit code, all that it printed, and the most memory that it had, in MB."""

    code: int
    text: str
    memory: float

    def refused(self, name: str) -> str:
        """The one line of an error.

        Raises:
            AssertionError: the command did not end as it does for bad input, or took too much memory.
        """
        lines = [line for line in self.text.splitlines() if line.startswith(f"{name}: ")]
        assert self.code == 1, self.text
        assert "Traceback" not in self.text, self.text
        assert len(lines) == 1, self.text
        assert self.memory < LIMIT, f"{self.memory:.0f} MB: {self.text}"
        return lines[0]


def run(name: str, *arguments: object, seconds: float = 120.0) -> Said:
    """Run a command to its end, which must come within so many seconds."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [str(BIN / name), *map(str, arguments)]
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", WATCHER, *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    text, _, last = said.decode(errors="replace").rstrip("\n").rpartition("\n")
    code, kilobytes = map(int, last.split())
    assert code in (0, 1, 2), f"{command} ended with {code}: {text}"
    return Said(code, text, kilobytes / 1000)


def refusal(name: str, *arguments: object) -> str:
    """Run a command that must refuse what it is given, and return its one line."""
    return run(name, *arguments).refused(name)


def edit_json(file: Path, **values: Any) -> None:
    """Change fields of a file of JSON."""
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, **values}), encoding="utf-8")


def sign(folder: Path, *names: str) -> None:
    """Write the sizes and hashes of files into the manifest, as whoever made the folder could."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for name in names:
        record = hash_file(folder / name)
        manifest["files"][name] = {"bytes": record.bytes, "sha256": record.sha256}
    edit_json(folder / "manifest.json", files=manifest["files"])
