"""Writing folders and files whole or not at all, one writer at a time.

Everything is made in a hidden sibling, which takes the place of the real one in a single rename once it is whole:
whoever reads, or is interrupted, sees the old one or the new one and never a half.
"""

import ctypes
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

from dpr_export.models.artifact.manifest import MANIFEST_FILE


def check_output(output: Path, force: bool) -> None:
    """Refuse, before any work is done, an output that may not be written.

    Raises:
        FileExistsError: `output` exists and `force` was not given, or is no exported folder (never replaced).
    """
    if not output.exists() and not output.is_symlink():
        return
    if not force:
        raise FileExistsError(f"output {output} exists: give another, or replace it with force (--force)")
    if not output.is_dir() or (any(output.iterdir()) and not is_exported(output)):
        raise FileExistsError(f"output {output} exists and is not an exported folder: --force replaces only those")


def is_exported(folder: Path) -> bool:
    """Whether a folder's manifest is one of ours, of this schema or a newer one: many programs write manifest.json."""
    try:
        values = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and {"schema", "kind", "variants", "files"} <= values.keys()


@contextmanager
def lock_folder(folder: Path, shared: bool = False) -> Iterator[int | None]:
    """Let no other process change or replace a folder for as long as the context lasts; it may still be read.

    Those that share it may change it together. Yields the descriptor that is locked, None where there are no locks.

    On systems and file systems without such locks nothing is held.

    Raises:
        BlockingIOError: another process changes it.
    """
    try:
        import fcntl
    except ImportError:
        yield None
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"{folder} is being changed by another process: try again when that is done"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def atomic_folder(output: Path, force: bool = False) -> Iterator[Path]:
    """Yield an empty folder to fill, which becomes `output` on a clean exit and vanishes on any other.

    Raises:
        FileExistsError: as `check_output`.
        BlockingIOError: another process changes the folder that would be replaced.
    """
    check_output(output, force)
    output = output.resolve()  # a link to a folder stays, and what it points to is replaced
    with lock_folder(output) if output.exists() else nullcontext():
        yield from _atomic_folder(output, force)


def _atomic_folder(output: Path, force: bool) -> Iterator[Path]:
    new_parents = [parent for parent in output.parents if not parent.exists()]
    making = None
    try:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            making = Path(tempfile.mkdtemp(prefix=f".{output.name[:100]}.", dir=output.parent))
        except OSError as error:
            raise OSError(f"output {output} cannot be written: {error.strerror}") from None
        yield making
        making.chmod(0o777 & ~umask())
        check_output(output, force)
        if output.exists():
            _exchange(making, output)
        else:
            making.rename(output)
    finally:
        if making is not None:
            shutil.rmtree(making, ignore_errors=True)
        if not output.exists():
            with suppress(OSError):  # one that others have begun to use meanwhile stays
                for parent in new_parents:
                    parent.rmdir()


@contextmanager
def atomic_file(output: Path) -> Iterator[BinaryIO]:
    """Yield a file to fill, which becomes `output` on a clean exit and vanishes on any other.

    A link is followed, and what is no regular file (a pipe, a device) is written to as it is.

    Raises:
        OSError: `output` is a folder, or its own folder does not exist.
    """
    if output.is_dir():
        raise IsADirectoryError(f"output {output} is a folder: give a file")
    if output.exists() and not output.is_file():
        with output.open("wb") as file:
            yield file
        return
    output = output.resolve()
    if not output.parent.is_dir():
        raise FileNotFoundError(f"output {output} cannot be written: there is no folder {output.parent}")
    with tempfile.NamedTemporaryFile(dir=output.parent, prefix=f".{output.name[:100]}.", delete=False) as file:
        making = Path(file.name)
        try:
            yield file  # type: ignore[misc]  # a temporary file is a binary file in all but its class
            file.flush()
            making.chmod(0o666 & ~umask())
            making.replace(output)
        except BaseException:
            making.unlink(missing_ok=True)
            raise


def umask() -> int:
    """The process's umask."""
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
