"""The two commands run in this process: a new one would spend seconds on imports alone.

What a new process shows besides (pipes, signals, what is imported) is tested with a few real ones in each room.
"""

import io
import sys
import warnings
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from dpr_export.models import entry_points

COMMANDS = {"dpr-export": entry_points.dpr_export, "dpr-runtime": entry_points.dpr_runtime}
HIDDEN_WARNINGS = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def run_command(
    name: str, *arguments: object, cwd: Path | str = ".", stdin: str = "", code: int = 0
) -> CompletedProcess[str]:
    """Run a command, which must end with `code` and no traceback; return what it wrote, as `subprocess.run` does."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with (
        pytest.MonkeyPatch.context() as patch,
        chdir(cwd),
        redirect_stdout(out),
        redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.resetwarnings()  # as a new process has it, not pytest's "error"
        for category in HIDDEN_WARNINGS:
            warnings.simplefilter("ignore", category)
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8"))
        with pytest.raises(SystemExit) as ended:
            COMMANDS[name]()
    stdout, stderr = (stream.buffer.getvalue().decode() for stream in (out, err))
    assert (ended.value.code or 0) == code, stderr
    assert "Traceback" not in stderr
    return CompletedProcess([name, *map(str, arguments)], code, stdout, stderr)
