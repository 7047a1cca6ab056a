"""Open an exported folder and check its files, add variants to it, and copy it.

A folder from the hub is a folder of the hub's cache. Its files are downloaded when they are needed.
"""

import hashlib
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dpr_export.models.artifact.atomic_writing import atomic_file
from dpr_export.models.artifact.git_lfs import POINTER, check_no_pointer, is_pointer
from dpr_export.models.artifact.graph_files import combine_hashes, graph_files, move_graph
from dpr_export.models.artifact.hub import Repository, remove_from_cache
from dpr_export.models.artifact.manifest import MANIFEST_FILE, SCHEMA, FileRecord, Manifest, Variant


@dataclass(frozen=True, slots=True)
class ExportedFolder:
    """An exported folder and its manifest."""

    path: Path
    manifest: Manifest
    repository: Repository | None = None  # missing files are downloaded from it, at one commit; None: none

    @classmethod
    def open(cls, path: str | Path, verify: bool = False) -> "ExportedFolder":
        """Read the manifest and check every file. Raises as `read` and `check`."""
        folder = cls.read(path)
        folder.check(verify)
        return folder

    @classmethod
    def read(cls, path: str | Path) -> "ExportedFolder":
        """Read the manifest alone.

        Raises:
            OSError: there is no exported folder at `path`.
            ValueError: the manifest is invalid or of another schema.
        """
        path = Path(path)
        if not (path / MANIFEST_FILE).is_file():
            raise OSError(f"{path} is not an exported folder: it has no {MANIFEST_FILE}")
        check_no_pointer(path / MANIFEST_FILE)
        try:
            return cls(path, Manifest.from_json((path / MANIFEST_FILE).read_text(encoding="utf-8")))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path / MANIFEST_FILE} is not UTF-8 text: {error}") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    @property
    def name(self) -> str:
        """The folder's name in messages: its path, or the repository and the commit."""
        return self.repository.label if self.repository else str(self.path)

    def check(self, verify: bool = False) -> None:
        """Check the size of every file and, with `verify`, its SHA-256. Files that are not downloaded yet are skipped.

        Raises:
            ValueError: a file differs from the manifest.
        """
        for name in self.manifest.files:
            if self.repository and not (self.path / name).exists():
                continue
            if problem := self.find_problem(name, verify):
                raise self._damage_error(name, problem)

    def ensure_files(self, *names: str) -> None:
        """Check the sizes of files, and download those that are missing or incomplete; of these check the SHA-256 too.

        Raises:
            OSError: a file cannot be downloaded.
            ValueError: a file differs from the manifest.
        """
        for name in names:
            problem = self.find_problem(name, verify=False)
            if problem and self.repository:
                remove_from_cache(self.path / name)
                self.repository.download(name)
                problem = self.find_problem(name)
            if problem:
                raise self._damage_error(name, problem)

    def check_graph(self, file: str) -> None:
        """Check the SHA-256 of a graph's files.

        Raises:
            ValueError: a file differs from the manifest.
        """
        for name in self.manifest.files_of(file):
            if problem := self.find_problem(name):
                raise self._damage_error(name, problem)

    def _damage_error(self, name: str, problem: str) -> ValueError:
        """Return the error about a damaged file, and remove the file from the hub's cache, which would keep it."""
        remedy = "export it again"
        if self.repository:
            remove_from_cache(self.path / name)
            remedy = "it was removed from the cache: try again, and if that does not help, push the folder again"
        return ValueError(f"{self.name} is damaged: {problem}; {remedy}")

    def find_problem(self, name: str, verify: bool = True) -> str | None:
        """Describe what is wrong with a file: it is missing, or differs in size or, with `verify`, in SHA-256."""
        path, expected = self.path / name, self.manifest.files[name]
        try:
            status = path.stat()
        except OSError:
            return f"{name} is missing"
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device would never end
            return f"{name} is no regular file"
        if status.st_size != expected.bytes and is_pointer(path):
            return f"{name} {POINTER}"
        if status.st_size != expected.bytes:
            return f"{name} has {status.st_size:,} bytes, and the manifest says {expected.bytes:,}"
        if verify and (sha256 := hash_file(path).sha256) != expected.sha256:
            return f"{name} has SHA-256 {sha256[:12]}…, and the manifest says {expected.sha256[:12]}…"
        return None


def hash_file(path: Path) -> FileRecord:
    """Return the size and SHA-256 of a file."""
    with path.open("rb") as file:
        return FileRecord(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def hash_graph(graph: Path) -> str:
    """Return the SHA-256 of a graph with its weights, as `Manifest.graph_sha256`."""
    return combine_hashes([hash_file(path).sha256 for path in graph_files(graph)])


def hash_folder(folder: Path) -> dict[str, FileRecord]:
    """Return the size and SHA-256 of every file in a folder except the manifest, by its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST_FILE)
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in files}


def add_files(folder: ExportedFolder, variants: Sequence[Variant], making: Path) -> Manifest:
    """Move new graphs into a folder, each in one rename, and then write the manifest with their variants.

    A graph that is replaced is first removed from the manifest, so that the manifest never names a file that differs
    from it.

    Args:
        folder: the folder, with its present manifest.
        variants: the new variants; one of the same backend and file is replaced.
        making: a folder with the new graphs, at their paths in the exported folder.

    Returns:
        The new manifest.

    Raises:
        OSError: a graph is not in `making` (nothing is changed then), or the folder cannot be written.
    """
    new = {(variant.backend, variant.file) for variant in variants}
    old = folder.manifest.files
    graphs = sorted({v.file for v in variants if v.file not in old or (making / v.file).exists()})
    added = {  # fails before any change if a graph is missing
        path.relative_to(making).as_posix(): hash_file(path) for graph in graphs for path in graph_files(making / graph)
    }
    kept = tuple(v for v in folder.manifest.variants if (v.backend, v.file) not in new)
    replaced = {name for graph in graphs if graph in old for name in folder.manifest.files_of(graph)}
    records = {name: record for name, record in old.items() if name not in replaced}
    if replaced:
        _write_manifest(folder.path, replace(folder.manifest, variants=kept, files=records))
    for graph in graphs:
        move_graph(making / graph, (folder.path / graph).parent)
    records = dict(sorted({**records, **added}.items()))
    manifest = replace(folder.manifest, variants=(*kept, *variants), files=records, schema=SCHEMA)
    _write_manifest(folder.path, manifest)
    return manifest


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    with atomic_file(folder / MANIFEST_FILE) as file:
        file.write(manifest.to_json().encode())


def copy_folder(source: ExportedFolder, output: Path) -> None:
    """Copy an exported folder's files into another folder, which may exist, the manifest last.

    Missing files of a folder from the hub are downloaded first.

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
