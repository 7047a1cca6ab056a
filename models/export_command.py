"""The command that makes a missing exported folder, for error messages."""

import shlex
from pathlib import Path


def export_command(name: str | Path) -> str:
    """Return the command that exports the checkpoint `name`, or that makes a folder if `name` ends in "-onnx".

    >>> export_command("facebook/dpr-reader-single-nq-base")
    'dpr-export facebook/dpr-reader-single-nq-base -o dpr-reader-single-nq-base-onnx'
    >>> export_command("reader-onnx")
    'dpr-export CHECKPOINT -o reader-onnx'
    """
    if Path(name).name.endswith("-onnx"):
        return f"dpr-export CHECKPOINT -o {shlex.quote(str(name))}"
    return f"dpr-export {shlex.quote(str(name))} -o {shlex.quote(Path(name).name + '-onnx')}"
