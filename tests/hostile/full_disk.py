"""Run commands on disks of several sizes, all too small or just large enough: a program for a mount namespace.

    unshare -rm python -m tests.hostile.full_disk ACTION FOLDER SIZES...

ACTION is `export`, `add` or `encode`; FOLDER holds `checkpoint`, a question encoder's, and `exported`, which was made
of it. For each size, in kB, a tmpfs is mounted, the temporary folder is moved there, and a child runs the command with
its output there. Prints a line of JSON for each: the exit code, what was said, the files that are left, and what the
manifest of the folder says that is left, which must be whole.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from tests.hostile.kills import state_of


def commands(root: Path, disk: Path) -> dict[str, tuple[Callable[[], object], list[str]]]:
    """For each action, the entry point and its arguments. What they need is imported here, before any fork."""
    import nncf  # noqa: F401
    import openvino  # noqa: F401

    from dpr_export.exporter.checkpoint import load  # noqa: F401
    from dpr_export.exporter.cli import main as export
    from dpr_export.exporter.tracing import reference_outputs, trace, weights  # noqa: F401
    from dpr_export.quantization import variants
    from dpr_export.quantization.texts import CALIBRATION_SET_FILE, EVALUATION_SET_FILE
    from dpr_export.runtime.cli.app import main as runtime

    variants.speedup = lambda *_: 1.5  # type: ignore[assignment]
    few = {file: root / file.name for file in (CALIBRATION_SET_FILE, EVALUATION_SET_FILE)}
    for file, copy in few.items():
        copy.write_text("".join(file.read_text("utf-8").splitlines(keepends=True)[:24]), encoding="utf-8")
    variants.EVALUATION_SET_FILE = few[EVALUATION_SET_FILE]
    int8 = [
        "--precision",
        "int8",
        "--backend",
        "onnxruntime",
        "--allow-loss",
        "--calibration",
        str(few[CALIBRATION_SET_FILE]),
    ]
    (root / "questions.txt").write_text("who wrote hamlet ?\n" * 100, encoding="utf-8")
    return {
        "export": (export, ["dpr-export", str(root / "checkpoint"), "-o", str(disk / "out")]),
        "add": (export, ["dpr-export", str(disk / "out"), *int8]),
        "encode": (
            runtime,
            ["dpr-runtime", "encode", str(root / "exported"), str(root / "questions.txt"), str(disk / "out.npy")],
        ),
    }


def run(command: Callable[[], object], arguments: list[str], said: Path) -> int:
    """Run an entry point in a child whose standard output and error go to a file; return its exit code."""
    child = os.fork()
    if child == 0:
        _become(command, arguments, said)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _become(command: Callable[[], object], arguments: list[str], said: Path) -> NoReturn:
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.argv = arguments
    code = 1
    try:
        command()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException as error:
        os.write(2, f"Traceback, in short: {error!r}\n".encode())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("action", choices=("export", "add", "encode"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("sizes", type=int, nargs="+")
    given = parser.parse_args()
    disk = given.folder / "disk"
    disk.mkdir(exist_ok=True)
    command, arguments = commands(given.folder, disk)[given.action]
    os.environ["TMPDIR"] = tempfile.tempdir = str(disk)
    for size in given.sizes:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk], check=True)
        if given.action == "add":
            shutil.copytree(given.folder / "exported", disk / "out")
        code = run(command, arguments, given.folder / "said")
        left = sorted(path.relative_to(disk).as_posix() for path in disk.rglob("*") if path.is_file())
        said = (given.folder / "said").read_text("utf-8", "replace")
        found = {"size": size, "code": code, "said": said, "left": left, "state": state_of(disk / "out")}
        print(json.dumps(found), flush=True)
        subprocess.run(["umount", disk], check=True)


if __name__ == "__main__":
    main()
