"""What a name means to `from_pretrained`: a folder on this machine, or a repository of the Hugging Face hub.

Of a repository only what is needed is downloaded, and all of it from the commit that its first file came from: whoever
loads while another pushes gets the old model or the new one, never some of both. What the manifest knows is compared
with it when it arrives.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.hub import NotInCacheError, Repository, repository
from dpr_export.models.artifact.manifest import MANIFEST_FILE, is_exported_folder
from dpr_export.models.export_command import export_command


def open_exported_folder(
    name: str | Path,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> ExportedFolder:
    """Open the exported folder that a name means; from the hub, its manifest alone is downloaded.

    Args:
        name: a folder, or a name on the hub, "org/name".
        revision: the hub's branch, tag or commit; None: the main branch.
        token: the hub's access token; None: the one that is logged in with.
        cache_dir: the folder of the hub's cache; None: the library's own.
        local_files_only: take files from the cache alone.

    Raises:
        OSError: there is no such folder, no such repository, or it cannot be had; the message says why.
        ValueError: its manifest is wrong, or newer.
    """
    of_somebody = isinstance(name, str) and "/" in name  # as all are that were pushed; else it is a folder's, mistyped
    asked = repository(name, revision, token, cache_dir, local_files_only) if of_somebody else None
    if asked is None:
        if not (Path(name) / MANIFEST_FILE).is_file():
            what = f"{name} is not an exported folder" if Path(name).exists() else f"there is no folder {name}"
            raise OSError(f"{what}. This command makes one: {export_command(name)}")
        return ExportedFolder.read(name)
    manifest = asked.download(MANIFEST_FILE)
    if manifest is None or not is_exported_folder(manifest.parent):
        raise OSError(
            f"{asked.label} on the hub is not an exported folder: it has no {MANIFEST_FILE} of dpr-export's. "
            f"This command makes one of a checkpoint: dpr-export {name}"
        )
    return _pinned(asked, manifest)


def resolve_files(
    files: Sequence[str],
    name: str | Path,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """The folder on this machine that has those of `files` that a checkpoint or an exported folder has.

    Args:
        files: names of files, in the order that they are looked for.
        name, revision, token, cache_dir, local_files_only: as for `exported_folder`.

    Raises:
        OSError: it cannot be had from the hub; the message says why.
        ValueError: a file is not the one that was exported.
    """
    asked = repository(name, revision, token, cache_dir, local_files_only)
    if asked is None:
        return Path(name)
    out_of_reach = None
    try:
        manifest = asked.download(MANIFEST_FILE)
    except NotInCacheError as error:  # a checkpoint that was downloaded otherwise may be in the cache
        manifest, out_of_reach = None, error
    if manifest is not None and is_exported_folder(manifest.parent):
        folder = _pinned(asked, manifest)
        folder.ensure_files(*(file for file in files if file in folder.manifest.files))
        return folder.path
    found = _of_checkpoint(replace(asked, local_files_only=True) if out_of_reach else asked, files)
    if found is None:
        raise out_of_reach or OSError(f"{asked.label} on the hub has none of {', '.join(files)}")
    return found


def _of_checkpoint(asked: Repository, files: Sequence[str]) -> Path | None:
    """Download those of `files` that a repository without a manifest has, all of one commit."""
    folder = None
    for file in files:
        path = None
        with suppress(*([NotInCacheError] if asked.local_files_only else [])):
            path = asked.download(file)
        if path is not None:
            folder = path.parent
            asked = replace(asked, revision=folder.name)
    return folder


def _pinned(asked: Repository, manifest: Path) -> ExportedFolder:
    """The exported folder in the cache, whose other files come from the commit of its manifest."""
    folder = ExportedFolder.read(manifest.parent)
    return replace(folder, repository=replace(asked, revision=folder.path.name))
