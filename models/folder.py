"""The exported folder on disk: opened with its sizes checked, written all at once or not at all.

Writing is atomic. Everything is made in a hidden sibling folder, which takes the place of the real one in a single
rename once it is whole: whoever reads, or is interrupted, sees the old folder or the new one and never a half.
"""

import ctypes
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dpr_export.models.manifest import MANIFEST_FILE, FileRecord, Manifest

GOLDEN_FILE = "golden.npz"


@dataclass(frozen=True, slots=True)
class ExportedFolder:
    """An exported folder and its manifest."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path, verify: bool = False) -> "ExportedFolder":
        """Read the manifest and check every file's size; with `verify`, its SHA-256 too.

        Raises:
            OSError: there is no exported folder at `path`.
            ValueError: the manifest is wrong or newer, or a file is not the one that was exported.
        """
        path = Path(path)
        if not (path / MANIFEST_FILE).is_file():
            raise OSError(f"{path} is not an exported folder: it has no {MANIFEST_FILE}")
        try:
            text = (path / MANIFEST_FILE).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path / MANIFEST_FILE} is not UTF-8 text: {error}") from None
        folder = cls(path, Manifest.from_json(text))
        problem = next((p for p in map(folder.size_problem, folder.manifest.files) if p), None)
        if problem is None and verify:
            problem = next((p for p in map(folder.hash_problem, folder.manifest.files) if p), None)
        if problem:
            raise ValueError(f"{path} is damaged: {problem}; export it again")
        return folder

    def size_problem(self, name: str) -> str | None:
        """What is wrong with a file's presence or size, or None."""
        wanted = self.manifest.files[name].bytes
        try:
            found = (self.path / name).stat().st_size
        except OSError:
            return f"{name} is missing"
        return None if found == wanted else f"{name} has {found:,} bytes, and the manifest says {wanted:,}"

    def hash_problem(self, name: str) -> str | None:
        """What is wrong with a file's content, or None."""
        wanted, found = self.manifest.files[name].sha256, file_record(self.path / name).sha256
        return None if found == wanted else f"{name} has SHA-256 {found[:12]}…, and the manifest says {wanted[:12]}…"


def command_that_makes(name: str | Path) -> str:
    """Say which command makes an exported folder from the checkpoint `name`.

    >>> command_that_makes("facebook/dpr-reader-single-nq-base")
    'dpr-export facebook/dpr-reader-single-nq-base -o dpr-reader-single-nq-base-onnx'
    """
    return f"dpr-export {name} -o {Path(name).name}-onnx"


def file_record(path: Path) -> FileRecord:
    """A file's size and SHA-256."""
    with path.open("rb") as file:
        return FileRecord(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def folder_records(folder: Path) -> dict[str, FileRecord]:
    """The record of every file in a folder but the manifest, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST_FILE)
    return {path.relative_to(folder).as_posix(): file_record(path) for path in files}


def check_output(output: Path, force: bool) -> None:
    """Refuse, before any work is done, an output that may not be written.

    Raises:
        FileExistsError: `output` exists and `force` was not given, or is no exported folder (never replaced).
    """
    if not output.exists():
        return
    if not force:
        raise FileExistsError(f"output {output} exists: give another, or --force to replace it")
    if not output.is_dir() or (any(output.iterdir()) and not (output / MANIFEST_FILE).is_file()):
        raise FileExistsError(f"output {output} exists and is not an exported folder: --force replaces only those")


@contextmanager
def written_whole(output: Path, force: bool = False) -> Iterator[Path]:
    """Yield an empty folder to fill, which becomes `output` on a clean exit and vanishes on any other.

    Raises:
        FileExistsError: as `check_output`.
    """
    check_output(output, force)
    new_parents = [parent for parent in output.absolute().parents if not parent.exists()]
    output.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        yield making
        making.chmod(0o777 & ~_umask())
        check_output(output, force)
        if output.exists():
            _exchange(making, output)
        else:
            making.rename(output)
    finally:
        shutil.rmtree(making, ignore_errors=True)
        if not output.exists():
            for parent in new_parents:
                parent.rmdir()


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders: in one step where the kernel can (Linux), else in two renames."""
    at_fdcwd, rename_exchange = -100, 2
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    if rename and rename(at_fdcwd, os.fsencode(new), at_fdcwd, os.fsencode(old), rename_exchange) == 0:
        return
    aside = new.with_name(f"{new.name}.old")
    old.rename(aside)
    new.rename(old)
    aside.rename(new)


def copy_folder(source: Path, output: Path) -> None:
    """Copy an exported folder, manifest and all, whole or not at all.

    Raises:
        FileExistsError: `output` exists.
    """
    with written_whole(output) as making:
        shutil.copytree(source, making, dirs_exist_ok=True)
