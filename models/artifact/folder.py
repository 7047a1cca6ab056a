"""The exported folder on disk: opened with its sizes checked, added to, copied. How it is written all at once or not at
all stands in writing.py.

A folder from the hub is a folder of the hub's cache, to which files come when they are needed.
"""

import hashlib
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dpr_export.models.artifact.atomic_writing import atomic_file
from dpr_export.models.artifact.hub import Repository, remove_from_cache
from dpr_export.models.artifact.manifest import MANIFEST_FILE, SCHEMA, FileRecord, Manifest, Variant


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
        return self.repository.label if self.repository else str(self.path)

    def check(self, verify: bool = False) -> None:
        """Check the size of every file; with `verify`, its SHA-256 too. From the hub: of every file that is here.

        Raises:
            ValueError: a file is not the one that was exported.
        """
        here = [name for name in self.manifest.files if not self.repository or (self.path / name).exists()]
        for name in here:
            if problem := self.find_problem(name, verify):
                raise self._damaged(name, problem)

    def ensure_files(self, *names: str) -> None:
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
        remove_from_cache(self.path / name)
        self.repository.download(name)
        return self.find_problem(name)

    def _damaged(self, name: str, problem: str) -> ValueError:
        """The error about a damaged file. One in the hub's cache is removed, for its library would take it as whole."""
        remedy = "export it again"
        if self.repository:
            remove_from_cache(self.path / name)
            remedy = "it was removed from the cache: try again, and if that does not help, push the folder again"
        return ValueError(f"{self.name} is damaged: {problem}; {remedy}")

    def find_problem(self, name: str, verify: bool = True) -> str | None:
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
        wanted, found = self.manifest.files[name].sha256, hash_file(self.path / name).sha256
        return None if found == wanted else f"{name} has SHA-256 {found[:12]}…, and the manifest says {wanted[:12]}…"


def hash_file(path: Path) -> FileRecord:
    """A file's size and SHA-256."""
    with path.open("rb") as file:
        return FileRecord(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def hash_folder(folder: Path) -> dict[str, FileRecord]:
    """The record of every file in a folder but the manifest, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST_FILE)
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in files}


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
    added = {file: hash_file(making / file) for file in files}  # fails before anything is changed if one is gone
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
    with atomic_file(folder / MANIFEST_FILE) as file:
        file.write(manifest.to_json().encode())


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
    source.ensure_files(*source.manifest.files)
    for name in (*source.manifest.files, MANIFEST_FILE):
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.path / name, output / name)
