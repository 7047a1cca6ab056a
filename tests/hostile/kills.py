"""Kill a process that writes an exported folder, at any moment, and look at what it leaves: a program of its own.

A child is forked for every kill, because the imports take longer than the work. Forking is safe only where no thread
runs, so this is not done within pytest, and nothing but imports happens before the fork.

    python -m tests.hostile.kills ACTION FOLDER --kills 30 --seed 0

ACTION is `new`, `force` or `variant`: an export to a new folder, over an old one, a variant more. FOLDER holds `old`
and `new`, two checkpoints, and maybe `out`, which `old` was exported to; it is written to. `lines` instead kills a
writer at each line of folder.py and atomic_writing.py in turn; then `old` and `new` are exported folders, and
`new` is `old` with a variant more.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from dpr_export.models.artifact import atomic_writing as writing
from dpr_export.models.artifact import folder as folders
from dpr_export.models.artifact.atomic_writing import atomic_file, atomic_folder, lock_folder
from dpr_export.models.artifact.folder import ExportedFolder, add_files
from dpr_export.models.artifact.manifest import is_exported_folder

QUICK = {"precisions": ["int8"], "backends": ["onnxruntime"], "allow_loss": True}


def in_child(work: Callable[[], object], after: float | None = None) -> bool:
    """Run work in a child, and kill that after so many seconds; return whether it was killed, from here or by itself.

    Raises:
        RuntimeError: the work failed.
    """
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
        os._exit(0)
    end, found, status = time.monotonic() + (after or 0), 0, 0
    while after is not None and not found and time.monotonic() < end:
        time.sleep(0.002)
        found, status = os.waitpid(child, os.WNOHANG)
    if after is not None and not found:
        os.kill(child, signal.SIGKILL)
    if not found:
        _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("the work failed")
    return os.WIFSIGNALED(status)


def state_of(output: Path) -> dict[str, Any] | None:
    """What tells one manifest from another, of a folder that is shown to be whole; None where there is no folder."""
    if not output.exists():
        return None
    manifest = ExportedFolder.open(output, verify=True).manifest
    return {"source": manifest.source.sha256, "files": sorted(manifest.files)}


def moments(chance: random.Random, length: float, count: int) -> list[float]:
    """Two thirds of them anywhere, the rest in the last tenth, where files are moved."""
    last = count // 3
    return [chance.uniform(0, length) for _ in range(count - last)] + [
        chance.uniform(0.9 * length, 1.02 * length) for _ in range(last)
    ]


def actions(root: Path) -> dict[str, Callable[[], object]]:
    """What is interrupted; everything that the work needs is imported here, and nothing of it run."""
    import nncf  # noqa: F401
    import openvino  # noqa: F401

    from dpr_export.exporter import ExportOptions, export
    from dpr_export.exporter.checkpoint import load  # noqa: F401
    from dpr_export.exporter.tracing import reference_outputs, trace, weights  # noqa: F401
    from dpr_export.quantization import variants
    from dpr_export.quantization.texts import CALIBRATION_SET_FILE, EVALUATION_SET_FILE

    variants.speedup = lambda *_: 1.5  # type: ignore[assignment]  # which files are kept must not hang on the time
    few = {file: root / file.name for file in (CALIBRATION_SET_FILE, EVALUATION_SET_FILE)}
    for file, copy in few.items():
        copy.write_text("".join(file.read_text("utf-8").splitlines(keepends=True)[:24]), encoding="utf-8")
    variants.EVALUATION_SET_FILE = few[EVALUATION_SET_FILE]
    out = root / "out"
    return {
        "old": lambda: export(str(root / "old"), out),
        "new": lambda: export(str(root / "new"), out),
        "force": lambda: export(str(root / "new"), out, ExportOptions(force=True)),
        "variant": lambda: export(str(out), options=ExportOptions(calibration=few[CALIBRATION_SET_FILE], **QUICK)),
    }


def kill(name: str, root: Path, count: int, seed: int) -> dict[str, int]:
    """Kill an action many times; count what was left, and raise if that was ever neither the old nor the new folder."""
    work, out, kept = actions(root), root / "out", root / "kept"
    if name != "new":
        if not out.exists():
            in_child(work["old"])
        shutil.copytree(out, kept)
    before = state_of(out)
    start = time.monotonic()
    in_child(work[name])
    length = time.monotonic() - start
    wanted, seen = state_of(out), {"old": 0, "new": 0, "leftovers": 0}
    assert before != wanted
    for moment in moments(random.Random(seed), length, count):
        reset(out, kept)
        in_child(work[name], after=moment)
        found = state_of(out)
        if found not in (before, wanted):
            raise AssertionError(f"killed after {moment:.3f} of {length:.3f} s: {found}")
        seen["new" if found == wanted else "old"] += 1
        seen["leftovers"] += len(leftovers(out))
    if state_of(out) == before:
        in_child(work[name])  # what lies about does not stand in the way of the next
    assert state_of(out) == wanted
    seen["stay"] = len(leftovers(out))
    return seen


def leftovers(out: Path) -> list[str]:
    """Hidden folders and files that lie beside the folder's own, or in it."""
    return [path.name for folder in (out.parent, out) if folder.is_dir() for path in folder.glob(".*")]


def reset(out: Path, kept: Path) -> None:
    """Put back the folder as it was; what lies beside it stays, as it would."""
    shutil.rmtree(out, ignore_errors=True)
    if kept.exists():
        shutil.copytree(kept, out)


def dies_at(line: int, work: Callable[[], object]) -> Callable[[], object]:
    """The work, killed as it comes to its so-manieth line of folder.py or atomic_writing.py."""
    reached = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal reached
        if frame.f_code.co_filename not in (folders.__file__, writing.__file__):
            return None
        reached += event == "line"
        if reached == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def traced() -> None:
        sys.settrace(trace)
        work()

    return traced


def kill_at_every_line(root: Path) -> dict[str, int]:
    """Kill the writers of a folder at each of their lines; count the lines, or raise where a folder is not whole.

    `old` and `new` in `root` are exported folders here, and `new` has one file more.
    """
    out, kept = root / "out", root / "old"
    old, new = state_of(kept), state_of(root / "new")
    folder = ExportedFolder.open(root / "new")
    added = sorted(set(folder.manifest.files) - set(ExportedFolder.open(kept).manifest.files))

    def write(force: bool) -> None:
        with atomic_folder(out, force, is_exported_folder) as making:
            shutil.copytree(root / "new", making, dirs_exist_ok=True)

    def add() -> None:
        with lock_folder(out):
            shutil.copytree(root / "new" / "onnx", root / "making" / "onnx", dirs_exist_ok=True)
            variants = [variant for variant in folder.manifest.variants if variant.file in added]
            add_files(ExportedFolder.open(out), variants, root / "making")

    def rewrite() -> None:
        with atomic_file(out / "manifest.json") as file:
            file.write((kept / "manifest.json").read_bytes())

    both: tuple[Any, ...] = (old, {**(old or {}), "files": (new or {})["files"]})
    works: dict[str, tuple[Callable[[], object], bool, tuple[Any, ...]]] = {
        "new": (lambda: write(False), False, (None, new)),
        "force": (lambda: write(True), True, (old, new)),
        "add": (add, True, both),
        "rewrite": (rewrite, True, (old,)),
    }
    lines = {}
    for name, (work, exists, allowed) in works.items():
        for line in range(1, 1000):
            reset(out, kept if exists else root / "none")
            killed = in_child(dies_at(line, work))
            found = state_of(out)
            assert found in allowed, f"{name}, killed at line {line}: {found}"
            if not killed:
                assert found == allowed[-1], f"{name}: {found}"
                lines[name] = line - 1
                break
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("action", choices=("new", "force", "variant", "lines"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    lines = given.action == "lines"
    print(
        json.dumps(
            kill_at_every_line(given.folder) if lines else kill(given.action, given.folder, given.kills, given.seed)
        )
    )


if __name__ == "__main__":
    main()
