"""Push an exported folder to the Hugging Face hub, with its model card, in one commit.

Only files that the manifest lists are uploaded, after their hashes were checked. The card is made for the commit and is
not written into the folder. Files of an earlier push that the manifest no longer lists are deleted in the same commit.
"""

import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

from dpr_export.exporter.errors import ExportError
from dpr_export.exporter.hub.card import LICENCE_FIELDS, model_card
from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.hub import Repository, describe_hub_error, hub_errors
from dpr_export.models.artifact.manifest import MANIFEST_FILE, Manifest, Source, is_exported_folder
from dpr_export.models.telemetry import no_telemetry

CARD_FILE = "README.md"


def check_push(repository: str, token: str | None = None) -> None:
    """Refuse a push that cannot succeed, before any work is done.

    Raises:
        ExportError: the name is not valid for a repository, there is no token, or HF_HUB_OFFLINE is set.
    """
    with no_telemetry():
        from huggingface_hub import constants, get_token
        from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repository)
    except ValueError as error:
        raise ExportError(describe_hub_error(error, f"{repository!r} is not a valid name for a repository")) from None
    if constants.HF_HUB_OFFLINE:
        raise ExportError(f"cannot push to {repository}: HF_HUB_OFFLINE is set")
    if not (token or get_token()):
        raise ExportError(
            f"cannot push to {repository} without a token: give --token or HF_TOKEN, or run hf auth login"
        )


def push(folder: str | Path, repository: str, *, private: bool = False, token: str | None = None) -> str:
    """Upload an exported folder to the hub with a model card, showing the hub's own progress bars.

    Args:
        folder: the exported folder.
        repository: "org/name", or "name" for your own account; created if it does not exist.
        private: make the repository private; one that exists and is public is refused.
        token: the access token for the hub; None: the one that is logged in with.

    Returns:
        The repository's full name, "org/name", which `from_pretrained` takes.

    Raises:
        ExportError: the hub refuses the upload, or cannot be reached; the folder is not changed.
        OSError, ValueError: `folder` is not an exported folder, or is damaged.

    Example:
        >>> from dpr_export.exporter import push
        >>> push("reader-onnx", "reader-onnx", private=True)                           # doctest: +SKIP
        'me/reader-onnx'
    """
    opened = ExportedFolder.open(folder, verify=True)
    check_push(repository, token)
    try:
        return _upload(opened, repository, private, token)
    except hub_errors() as error:
        failed = describe_hub_error(error, f"cannot push to {repository}")
        again = f"dpr-export {shlex.quote(str(folder))} --push-to-hub {shlex.quote(repository)}"
        raise ExportError(f"{failed}. The exported folder is at {folder}; to try again: {again}") from None


def _upload(opened: ExportedFolder, repository: str, private: bool, token: str | None) -> str:
    with no_telemetry():
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    model_card(opened.manifest, repository)  # fails here, before the repository is created, if it must fail
    api = HfApi(token=token)
    name = str(api.create_repo(repository, private=private or None, exist_ok=True).repo_id)
    info = api.model_info(name)
    if private and not info.private:
        raise ValueError(f"{name} is public, but --private is set: make it private on the hub, or give another name")
    existing = {file.rfilename for file in info.siblings or ()}
    before = _files_of_manifest(name, info.sha, token) if MANIFEST_FILE in existing else None
    if before is None and existing & {"config.json", MANIFEST_FILE}:
        raise ValueError(f"{name} contains another model, whose files would be replaced: give another name")
    stale = existing & before - opened.manifest.files.keys() if before else set()
    card = model_card(opened.manifest, name, _licence(opened.manifest.source, token))
    files = (*opened.manifest.files, MANIFEST_FILE)
    api.create_commit(
        name,
        operations=[
            *(CommitOperationAdd(path_in_repo=file, path_or_fileobj=opened.path / file) for file in files),
            CommitOperationAdd(path_in_repo=CARD_FILE, path_or_fileobj=card.encode()),
            *(CommitOperationDelete(path_in_repo=file) for file in sorted(stale)),
        ],
        commit_message=f"DPR {opened.manifest.kind} model, exported with dpr-export",
        parent_commit=info.sha,
    )
    return name


def _files_of_manifest(name: str, commit: str | None, token: str | None) -> set[str] | None:
    """The files of an earlier push to a repository; None if its manifest.json is not dpr-export's."""
    path = Repository(name=name, revision=commit, token=token).download(MANIFEST_FILE)
    if path is None or not is_exported_folder(path.parent):
        return None
    with suppress(ValueError):  # with a newer schema, nothing is removed
        return set(Manifest.from_json(path.read_text(encoding="utf-8")).files)
    return set()


def _licence(source: Source, token: str | None) -> dict[str, Any]:
    """The licence fields in the front matter of the source's own model card; empty if it states no licence."""
    with no_telemetry():
        from huggingface_hub.repocard import metadata_load

    if source.revision:
        path = None
        with suppress(OSError):  # it may have been deleted since
            path = Repository(name=source.name, revision=source.revision, token=token).download(CARD_FILE)
    else:
        path = Path(source.name) / CARD_FILE
    try:
        fields = metadata_load(path) if path is not None and path.is_file() else None
    except Exception:  # malformed front matter of a stranger states no licence
        fields = None
    stated = {name: value for name, value in (fields or {}).items() if name in LICENCE_FIELDS and _is_text(value)}
    return stated if "license" in stated else {}


def _is_text(value: Any) -> bool:
    """Whether a field is a string or a list of strings, and not empty."""
    return bool(value) and all(isinstance(each, str) for each in (value if isinstance(value, list) else [value]))
