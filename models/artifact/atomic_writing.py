"""Write a folder or a file whole or not at all, and let one process write it at a time.

The content is made in a hidden sibling, and one rename puts it in place once it is complete. A reader sees the old
content or the new one and never a half, also when the writer is killed.
"""

import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

IsReplaceable = Callable[[Path], bool]


def check_output(output: Path, force: bool = False, is_replaceable: IsReplaceable | None = None) -> None:
    """Raise a FileExistsError if an output folder may not be written; the arguments are those of `atomic_folder`."""
    if not output.exists() and not output.is_symlink():
        return
    if not force:
        raise FileExistsError(f"output {output} exists: give another, or replace it with force (--force)")
    if not output.is_dir() or (any(output.iterdir()) and not (is_replaceable and is_replaceable(output))):
        raise FileExistsError(f"output {output} exists and is not an exported folder: --force replaces only those")


@contextmanager
def lock_folder(folder: Path, shared: bool = False) -> Iterator[int | None]:
    """Hold a lock on a folder, so that no other process changes or replaces it; reading needs no lock.

    The folder itself is locked with flock: the filelock package has no shared locks for that, and leaves a file behind.

    Args:
        folder: the folder, which exists.
        shared: let other processes that also ask for a shared lock change the folder at the same time.

    Yields:
        The locked descriptor. None on systems without flock; there, and on file systems without it, nothing is locked.

    Raises:
        BlockingIOError: another process holds the lock.
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
def atomic_folder(output: Path, force: bool = False, is_replaceable: IsReplaceable | None = None) -> Iterator[Path]:
    """Yield an empty folder to fill. It becomes `output` on a clean exit, and is removed on any other.

    Args:
        output: the folder to make. Where it is a link to a folder, the link stays and its target is replaced.
        force: replace an existing `output` that is empty or for which `is_replaceable` is true.
        is_replaceable: says whether an existing folder holds what this package made.

    Raises:
        FileExistsError: `output` exists, and is not to be replaced or must not be.
        BlockingIOError: another process changes the folder that would be replaced.
        OSError: the folder cannot be made there.
    """
    check_output(output, force, is_replaceable)
    output = output.resolve()
    new_parents = [parent for parent in output.parents if not parent.exists()]
    making = None
    with lock_folder(output) if output.exists() else nullcontext():
        try:
            try:
                output.parent.mkdir(parents=True, exist_ok=True)
                making = Path(tempfile.mkdtemp(prefix=f".{output.name[:100]}.", dir=output.parent))
            except OSError as error:
                raise OSError(f"output {output} cannot be written: {error.strerror}") from None
            yield making
            making.chmod(0o777 & ~read_umask())
            check_output(output, force, is_replaceable)
            if output.exists():
                _exchange(making, output)
            else:
                making.rename(output)
        finally:
            if making is not None:
                shutil.rmtree(making, ignore_errors=True)
            if not output.exists():
                with suppress(OSError):  # a parent that others use by now is not empty, and stays
                    for parent in new_parents:
                        parent.rmdir()


@contextmanager
def atomic_file(output: Path) -> Iterator[BinaryIO]:
    """Yield a file to fill. It becomes `output` on a clean exit, and is removed on any other.

    A link is followed. A pipe or a device is written to directly.

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
            making.chmod(0o666 & ~read_umask())
            making.replace(output)
        except BaseException:
            making.unlink(missing_ok=True)
            raise


def read_umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    current = os.umask(0o022)
    os.umask(current)
    return current


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders: in one step where the kernel can (Linux), else with renames."""
    at_fdcwd, rename_exchange = -100, 2
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    if rename and rename(at_fdcwd, os.fsencode(new), at_fdcwd, os.fsencode(old), rename_exchange) == 0:
        return
    aside = new.with_name(f"{new.name}.old")
    old.rename(aside)
    new.rename(old)
    aside.rename(new)
