"""The exported folder on disk: opened with its sizes checked, written all at once or not at all. One from the hub is a
folder of the hub's cache, to which files come when they are needed.

Writing is atomic. Everything is made in a hidden sibling folder, which takes the place of the real one in a single
rename once it is whole: whoever reads, or is interrupted, sees the old folder or the new one and never a half.
"""

import ctypes
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from dpr_export.models.hub import Repository, forget
from dpr_export.models.manifest import MANIFEST_FILE, SCHEMA, FileRecord, Manifest, Variant


@dataclass(frozen=True, slots=True)
class ExportedFolder:
    """An exported folder and its manifest.

    Attributes:
        path: where its files lie.
        manifest: what they are.
        repository: where those that are not there yet come from, at one commit; None: the folder is whole.
    """

    path: Path
    manifest: Manifest
    repository: Repository | None = None

    @classmethod
    def open(cls, path: str | Path, verify: bool = False) -> "ExportedFolder":
        """Read the manifest and check every file's size; with `verify`, its SHA-256 too.

        Raises:
            OSError: there is no exported folder at `path`.
            ValueError: the manifest is wrong or newer, or a file is not the one that was exported.
        """
        folder = cls.read(path)
        folder.check(verify)
        return folder

    @classmethod
    def read(cls, path: str | Path) -> "ExportedFolder":
        """Read the manifest alone.

        Raises:
            OSError: there is no exported folder at `path`.
            ValueError: the manifest is wrong or newer.
        """
        path = Path(path)
        if not (path / MANIFEST_FILE).is_file():
            raise OSError(f"{path} is not an exported folder: it has no {MANIFEST_FILE}")
        try:
            text = (path / MANIFEST_FILE).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path / MANIFEST_FILE} is not UTF-8 text: {error}") from None
        try:
            return cls(path, Manifest.from_json(text))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    @property
    def name(self) -> str:
        """What the folder is called in messages: its path, or the repository and the commit."""
        return self.repository.where if self.repository else str(self.path)

    def check(self, verify: bool = False) -> None:
        """Check the size of every file; with `verify`, its SHA-256 too. From the hub: of every file that is here.

        Raises:
            ValueError: a file is not the one that was exported.
        """
        here = [name for name in self.manifest.files if not self.repository or (self.path / name).exists()]
        for name in here:
            if problem := self.problem(name, verify):
                raise self._damaged(name, problem)

    def need(self, *names: str) -> None:
        """Have files of the folder here, with their sizes checked.

        From the hub, those that are not here, or not whole, are downloaded, and their SHA-256 is compared too.

        Raises:
            OSError: a file cannot be downloaded.
            ValueError: a file is not the one that was exported.
        """
        for name in names:
            if problem := self._size_problem(name) and self._downloaded(name):
                raise self._damaged(name, problem)

    def _downloaded(self, name: str) -> str | None:
        """Download a file; what is wrong with it, or None."""
        if not self.repository:
            return self._size_problem(name)
        forget(self.path / name)
        self.repository.download(name)
        return self.problem(name)

    def _damaged(self, name: str, problem: str) -> ValueError:
        """The error about a damaged file. One in the hub's cache is removed, for its library would take it as whole."""
        remedy = "export it again"
        if self.repository:
            forget(self.path / name)
            remedy = "it was removed from the cache: try again, and if that does not help, push the folder again"
        return ValueError(f"{self.name} is damaged: {problem}; {remedy}")

    def problem(self, name: str, verify: bool = True) -> str | None:
        """What is wrong with a file: its presence, its size or, with `verify`, its content; or None."""
        return self._size_problem(name) or (self._hash_problem(name) if verify else None)

    def _size_problem(self, name: str) -> str | None:
        wanted = self.manifest.files[name].bytes
        try:
            status = (self.path / name).stat()
        except OSError:
            return f"{name} is missing"
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device would never end
            return f"{name} is no regular file"
        found = status.st_size
        return None if found == wanted else f"{name} has {found:,} bytes, and the manifest says {wanted:,}"

    def _hash_problem(self, name: str) -> str | None:
        wanted, found = self.manifest.files[name].sha256, file_record(self.path / name).sha256
        return None if found == wanted else f"{name} has SHA-256 {found[:12]}…, and the manifest says {wanted[:12]}…"


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


def add_files(folder: ExportedFolder, variants: Sequence[Variant], making: Path) -> Manifest:
    """Move new graphs into a folder, each in one rename, and write its manifest with their variants last.

    A graph that takes another's place is first left out of the manifest, so that at no time a file is not the one that
    the manifest names.

    Args:
        folder: the folder, with the manifest to start from.
        variants: what is new; a variant of the same backend and file is replaced.
        making: where the new graphs are, by their paths in the folder.

    Returns:
        The new manifest.

    Raises:
        OSError: a graph is not in `making`, and then nothing is changed; or the folder cannot be written.
    """
    new = {(variant.backend, variant.file) for variant in variants}
    old = folder.manifest.files
    files = sorted({v.file for v in variants if v.file not in old or (making / v.file).exists()})
    added = {file: file_record(making / file) for file in files}  # fails before anything is changed if one is gone
    kept = tuple(v for v in folder.manifest.variants if (v.backend, v.file) not in new)
    records = {name: record for name, record in old.items() if name not in files}
    if len(records) < len(old):
        _write_manifest(folder.path, replace(folder.manifest, variants=kept, files=records))
    for file in files:
        (making / file).replace(folder.path / file)
    records = dict(sorted({**records, **added}.items()))
    manifest = replace(folder.manifest, variants=(*kept, *variants), files=records, schema=SCHEMA)
    _write_manifest(folder.path, manifest)
    return manifest


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    with file_written_whole(folder / MANIFEST_FILE) as file:
        file.write(manifest.to_json().encode())


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Let no other process change or replace a folder for as long as the context lasts; it may still be read.

    On systems and file systems without such locks nothing is held.

    Raises:
        BlockingIOError: another process changes it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"{folder} is being changed by another process: try again when that is done"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


@contextmanager
def written_whole(output: Path, force: bool = False) -> Iterator[Path]:
    """Yield an empty folder to fill, which becomes `output` on a clean exit and vanishes on any other.

    Raises:
        FileExistsError: as `check_output`.
        BlockingIOError: another process changes the folder that would be replaced.
    """
    check_output(output, force)
    output = output.resolve()  # a link to a folder stays, and what it points to is replaced
    with only_writer(output) if output.exists() else nullcontext():
        yield from _written_whole(output, force)


def _written_whole(output: Path, force: bool) -> Iterator[Path]:
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
def file_written_whole(output: Path) -> Iterator[BinaryIO]:
    """Yield a file to fill, which becomes `output` on a clean exit and vanishes on any other.

    A link is followed, and what is no regular file (a pipe, a device) is written to as it is.

    Raises:
        OSError: `output` is a folder, or its own folder does not exist.
    """
    output = output.resolve()
    if output.is_dir():
        raise IsADirectoryError(f"output {output} is a folder: give a file")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"output {output} cannot be written: there is no folder {output.parent}")
    if output.exists() and not output.is_file():
        with output.open("wb") as file:
            yield file
        return
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


def copy_folder(source: ExportedFolder, output: Path) -> None:
    """Copy an exported folder's files into another folder, which may exist; the manifest last.

    Of a folder from the hub, the files that are not here yet are downloaded first.

    Raises:
        FileExistsError: `output` is a file.
        OSError: a file cannot be downloaded.
        ValueError: a file of `source` is damaged.
    """
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"folder {output} is a file: give a folder")
    if output.exists() and output.samefile(source.path):
        return
    source.need(*source.manifest.files)
    for name in (*source.manifest.files, MANIFEST_FILE):
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.path / name, output / name)
