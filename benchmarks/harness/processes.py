"""Run a command and measure its time and its peak memory."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.harness.workers import ROOT, WorkerError, last_line

DPR_EXPORT = Path(sys.executable).with_name("dpr-export")


class Measured(NamedTuple):
    """What a command printed to standard output, and what it took."""

    output: str
    first_line_seconds: float  # from the start to the end of its first line
    seconds: float  # from the start to its end
    peak_bytes: int  # the largest resident memory of the process


def run_measured(
    command: Sequence[Any], variables: Mapping[str, str] | None = None, log: Path | None = None
) -> Measured:
    """Run a command from the project's folder.

    Args:
        command: the command.
        variables: environment variables to set in addition to this process's.
        log: the file for its standard error; None: none is kept.

    Raises:
        WorkerError: the command failed; the message is the last line of its standard error.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(variables or {})}
    with TemporaryDirectory() as folder:
        log = log or Path(folder, "log")
        start = time.perf_counter()
        with (
            log.open("w", encoding="utf-8") as stderr,
            subprocess.Popen(
                [*map(str, command)], stdout=subprocess.PIPE, stderr=stderr, env=environment, cwd=ROOT, text=True
            ) as process,
        ):
            assert process.stdout is not None
            output = process.stdout.readline()
            first_line_seconds = time.perf_counter() - start
            output += process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        if process.returncode:
            raise WorkerError(last_line(log, f"exit code {process.returncode}"))
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Measured(output, first_line_seconds, seconds, peak)
