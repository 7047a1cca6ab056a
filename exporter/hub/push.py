"""Push an exported folder to the Hugging Face hub, with its model card, in one commit.

Only what the manifest lists is uploaded, after its hashes were compared. The card is made for the commit and never lies
in the folder. What an earlier push put there and the new manifest no longer has is removed in the same commit.
"""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpr_export.exporter.errors import ExportError
from dpr_export.exporter.hub.card import LICENCE_FIELDS, model_card
from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.hub import Repository, describe_hub_error, hub_errors
from dpr_export.models.artifact.manifest import MANIFEST_FILE, Manifest, Source, is_exported_folder

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

CARD_FILE = "README.md"


def check_push(repository: str, token: str | None = None) -> None:
    """Refuse, before any work is done, a push that cannot succeed.

    Raises:
        ExportError: the name is none of a repository, there is no token, or the hub is not to be asked.
    """
    from huggingface_hub import constants, get_token
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repository)
    except ValueError as error:
        raise ExportError(describe_hub_error(error, f"{repository!r} can be no repository's name on the hub")) from None
    if constants.HF_HUB_OFFLINE:
        raise ExportError(f"nothing can be pushed to {repository}: HF_HUB_OFFLINE is set")
    if not (token or get_token()):
        raise ExportError(
            f"nothing can be pushed to {repository} without a token: give --token or HF_TOKEN, or run hf auth login"
        )


def push(folder: str | Path, repository: str, *, private: bool = False, token: str | None = None) -> str:
    """Upload an exported folder to the hub, and write its model card there; the hub's own bars show how far it is.

    Args:
        folder: the exported folder.
        repository: "org/name", or "name" for one's own; made where there is none.
        private: make it a private one; one that exists and is public is refused.
        token: the hub's access token; None: the one that is logged in with.

    Returns:
        The repository's name, with whose it is: `DPRReader.from_pretrained` takes it.

    Raises:
        ExportError: the hub refuses, or cannot be reached; the folder stays as it is.
        OSError, ValueError: `folder` is no exported folder, or is damaged.

    Example:
        >>> from dpr_export.exporter import push
        >>> push("reader-onnx", "reader-onnx", private=True)                           # doctest: +SKIP
        'me/reader-onnx'
    """
    opened = ExportedFolder.open(folder, verify=True)
    check_push(repository, token)
    with _failing_in_one_line(folder, repository):
        return _pushed(opened, repository, private, token)


@contextmanager
def _failing_in_one_line(folder: str | Path, repository: str) -> Iterator[None]:
    """Turn what the hub and its library raise into one line that says where the folder is."""
    again = f"dpr-export {shlex.quote(str(folder))} --push-to-hub {shlex.quote(repository)}"
    try:
        yield
    except hub_errors() as error:
        failed = describe_hub_error(error, f"{repository} was not pushed to")
        raise ExportError(f"{failed}. The exported folder is at {folder}; to try again: {again}") from None


def _pushed(opened: ExportedFolder, repository: str, private: bool, token: str | None) -> str:
    from huggingface_hub import HfApi

    model_card(opened.manifest, repository)  # what no card can be made of is found out before anything is there
    api = HfApi(token=token)
    name = str(api.create_repo(repository, private=private or None, exist_ok=True).repo_id)
    found = api.model_info(name)
    if private and not found.private:
        raise ValueError(f"{name} is public, and --private was given: make it private on the hub, or give another name")
    there = {file.rfilename for file in found.siblings or ()}
    before = _manifest_there(name, found.sha, token) if MANIFEST_FILE in there else None
    if before is None and there & {"config.json", MANIFEST_FILE}:
        raise ValueError(f"{name} holds another model, whose files would be replaced: give another name")
    stale = there & before - opened.manifest.files.keys() if before else set()
    card = model_card(opened.manifest, name, _licence(opened.manifest.source, token))
    api.create_commit(
        name,
        operations=_operations(opened, card, stale),
        commit_message=f"DPR {opened.manifest.kind} model, exported with dpr-export",
        parent_commit=found.sha,
    )
    return name


def _manifest_there(name: str, commit: str | None, token: str | None) -> set[str] | None:
    """The files that an earlier push put into a repository; None where its manifest is not dpr-export's."""
    path = Repository(name, commit, token).download(MANIFEST_FILE)
    if path is None or not is_exported_folder(path.parent):
        return None
    with suppress(ValueError):  # of a newer schema: then nothing is removed
        return set(Manifest.from_json(path.read_text(encoding="utf-8")).files)
    return set()


def _operations(
    opened: ExportedFolder, card: str, stale: set[str]
) -> "list[CommitOperationAdd | CommitOperationDelete]":
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    files = (*opened.manifest.files, MANIFEST_FILE)
    return [
        *(CommitOperationAdd(path_in_repo=file, path_or_fileobj=opened.path / file) for file in files),
        CommitOperationAdd(path_in_repo=CARD_FILE, path_or_fileobj=card.encode()),
        *(CommitOperationDelete(path_in_repo=file) for file in sorted(stale)),
    ]


def _licence(source: Source, token: str | None) -> dict[str, Any]:
    """What the source's own model card says of its licence: fields of its front matter; none where it says nothing."""
    from huggingface_hub.repocard import metadata_load

    if source.revision:
        path = None
        with suppress(OSError):  # it may have been withdrawn since
            path = Repository(source.name, source.revision, token).download(CARD_FILE)
    else:
        path = Path(source.name) / CARD_FILE
    try:
        fields = metadata_load(path) if path is not None and path.is_file() else None
    except Exception:  # a stranger's front matter: whatever is wrong with it, it states no licence
        fields = None
    stated = {name: value for name, value in (fields or {}).items() if name in LICENCE_FIELDS and _is_text(value)}
    return stated if "license" in stated else {}


def _is_text(value: Any) -> bool:
    """Whether a field is a text, or a list of texts."""
    return bool(value) and all(isinstance(each, str) for each in (value if isinstance(value, list) else [value]))
