"""Resolve the name given to `from_pretrained`: a folder on this machine, or a repository of the Hugging Face hub.

Only the needed files of a repository are downloaded, all from the commit of its first one: while somebody pushes, a
load gets the old model or the new one, and never a mix. Downloaded files are compared with the manifest.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.hub import NO_OPTIONS, HubOptions, NotInCacheError, Repository, find_repository
from dpr_export.models.artifact.manifest import MANIFEST_FILE, is_exported_folder
from dpr_export.models.export_command import export_command


def open_exported_folder(name: str | Path, options: HubOptions = NO_OPTIONS) -> ExportedFolder:
    """Open an exported folder by its name; from the hub, only the manifest is downloaded.

    Args:
        name: a folder, or a name on the hub, "org/name".
        options: for the hub.

    Raises:
        OSError: there is no such folder or repository, or it cannot be downloaded; the message says why.
        ValueError: its manifest is invalid or of another schema.
    """
    has_owner = isinstance(name, str) and "/" in name  # as every pushed folder; other names are mistyped folders
    repository = find_repository(name, options) if has_owner else None
    if repository is None:
        if not (Path(name) / MANIFEST_FILE).is_file():
            what = f"{name} is not an exported folder" if Path(name).exists() else f"there is no folder {name}"
            raise OSError(f"{what}. This command makes one: {export_command(name)}")
        return ExportedFolder.read(name)
    manifest = repository.download(MANIFEST_FILE)
    if manifest is None or not is_exported_folder(manifest.parent):
        raise OSError(
            f"{repository.label} on the hub is not an exported folder: it has no {MANIFEST_FILE} of dpr-export's. "
            f"This command makes one of a checkpoint: dpr-export {name}"
        )
    return _open_cached(repository, manifest)


def resolve_files(files: Sequence[str], name: str | Path, options: HubOptions) -> Path:
    """Return a folder on this machine with those of `files` that a checkpoint or an exported folder has.

    Args:
        files: the names of files, in the order of their download.
        name, options: as for `open_exported_folder`.

    Raises:
        OSError: none of them can be downloaded; the message says why.
        ValueError: a file differs from the manifest.
    """
    repository = find_repository(name, options)
    if repository is None:
        return Path(name)
    unreachable = None
    try:
        manifest = repository.download(MANIFEST_FILE)
    except NotInCacheError as error:  # the cache may still hold a checkpoint, which has no manifest
        manifest, unreachable = None, error
    if manifest is not None and is_exported_folder(manifest.parent):
        exported = _open_cached(repository, manifest)
        exported.ensure_files(*(file for file in files if file in exported.manifest.files))
        return exported.path
    folder = _download_checkpoint(replace(repository, local_files_only=True) if unreachable else repository, files)
    if folder is None:
        raise unreachable or OSError(f"{repository.label} on the hub has none of {', '.join(files)}")
    return folder


def _download_checkpoint(repository: Repository, files: Sequence[str]) -> Path | None:
    """Download those of `files` that a repository without a manifest has, all from one commit."""
    folder = None
    for file in files:
        path = None
        with suppress(*([NotInCacheError] if repository.local_files_only else [])):
            path = repository.download(file)
        if path is not None:
            folder = path.parent
            repository = replace(repository, revision=folder.name)
    return folder


def _open_cached(repository: Repository, manifest: Path) -> ExportedFolder:
    """Open an exported folder in the cache; its other files will come from the commit of its manifest."""
    folder = ExportedFolder.read(manifest.parent)
    return replace(folder, repository=replace(repository, revision=folder.path.name))
