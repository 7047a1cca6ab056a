"""Files from the Hugging Face hub, one at a time and all of one commit, through the cache that its own library keeps.

huggingface_hub is imported when a name is looked for there: who has a folder never waits for it. What can go wrong
(no such repository, no network, a token that is missing) ends in an OSError of one line.

Left out: which files are needed, and what they must contain; models/artifact/folder.py knows that.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from dpr_export.models.export_command import export_command
from dpr_export.models.quiet import quiet_logger

_NAME = re.compile(r"(?!\.)[\w.-]+(/[\w.-]+)?")
# What the library's errors mean, by the names of their classes, so that it need not be imported to tell.
_MEANINGS = {
    "GatedRepoError": "{name} on the hub is gated: ask for access on its page, and give a token (token=, or HF_TOKEN)",
    "DisabledRepoError": "{name} on the hub has been disabled",
    "RevisionNotFoundError": "{name} on the hub has no revision {revision}: give a branch, a tag or a commit",
    "RepositoryNotFoundError": "there is no folder {name}, and no such repository on the hub, or a private one: check "
    "the name, or give a token (token=, or HF_TOKEN){command}",
    "HFValidationError": "there is no folder {name}, and it can be no repository's name on the hub{command}",
}


class NotInCacheError(OSError):
    """A file is not in the cache, and the hub is not asked or cannot be reached."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of the hub, at a revision, and how it is asked for.

    Attributes:
        name: "org/name", or "name".
        revision: a branch, a tag or a commit; None: the main branch.
        token: the access token; None: the one that is logged in with; False: none.
        cache_dir: the folder of the cache; None: the library's own.
        local_files_only: take files from the cache alone.
        for_export: it is a checkpoint that is asked for, so no error says which command exports it.
    """

    name: str
    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False
    for_export: bool = False

    @property
    def remedy(self) -> str:
        """The command that makes an exported folder of the checkpoint of that name, for messages."""
        return "" if self.for_export else _command(self.name)

    @property
    def label(self) -> str:
        """The name and the revision, for messages."""
        return f"{self.name}@{self.revision}" if self.revision else self.name

    def download(self, file: str) -> Path | None:
        """A file of the repository, in the cache; None where the repository has no such file.

        Raises:
            OSError: it cannot be had; `NotInCacheError` where the hub was not asked or cannot be reached.
        """
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            with quiet_logger("huggingface_hub", logging.ERROR):  # it warns of every retry
                path = hf_hub_download(
                    self.name,
                    file,
                    revision=self.revision,
                    token=self.token,
                    cache_dir=self.cache_dir,
                    local_files_only=self.local_files_only,
                )
        except LocalEntryNotFoundError as error:
            raise NotInCacheError(self._not_in_cache(file, error)) from None
        except EntryNotFoundError:
            return None
        except hub_errors() as error:
            raise OSError(explain_hub_error(error, self, f"{file} of {self.label} cannot be downloaded")) from None
        return Path(path)

    def _not_in_cache(self, file: str, error: BaseException) -> str:
        status = getattr(getattr(error.__cause__, "response", None), "status_code", None)
        if self.local_files_only:
            why = "the hub is not asked (local_files_only)"
        elif status:
            why = f"the hub answers {status}: try again later"
        else:
            why = "the hub cannot be reached: check the network and HF_HUB_OFFLINE"
        return f"{file} of {self.label} is not in the cache, and {why}; nor is there such a folder here{self.remedy}"


def repository(
    name: str | Path,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Repository | None:
    """The repository that a name means; None where it is a path on this machine.

    Whatever exists here wins, and a `Path` is never looked for on the hub.

    >>> repository("facebook/dpr-reader-single-nq-base").name
    'facebook/dpr-reader-single-nq-base'
    >>> repository("./reader-onnx"), repository(Path("my/reader-onnx"))
    (None, None)
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or Path(name).exists():
        return None
    return Repository(name, revision, token, cache_dir, local_files_only)


def hub_errors() -> tuple[type[Exception], ...]:
    """What a call of the hub's library may raise: its own errors, and those of the library that it calls HTTP with."""
    from huggingface_hub.errors import HfHubHTTPError

    http_error: type[Exception] = HfHubHTTPError.__mro__[1]  # of requests, httpx or httpx2, as the release has it
    # The last three: it reads what a hub answers as if that could not be wrong.
    return http_error, OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError


def explain_hub_error(error: BaseException, asked: Repository, failed: str) -> str:
    """What an error of the hub's library means, in one line; `failed` is what to begin with where it says all."""
    for kind in type(error).__mro__:
        if words := _MEANINGS.get(kind.__name__):
            return words.format(name=asked.name, revision=asked.revision or "main", command=asked.remedy)
    return describe_hub_error(error, failed)


def describe_hub_error(error: BaseException, failed: str) -> str:
    """What failed, and the first line of what the library or the hub said of it."""
    while error.__cause__ is not None and not hasattr(error, "server_message"):  # which the library's own errors have
        error = error.__cause__
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return f"{failed}: the hub refuses the token, or needs one (--token or token=, HF_TOKEN, hf auth login)"
    words = getattr(error, "strerror", None) or getattr(error, "server_message", None) or str(error)
    line = next((line.strip() for line in str(words).splitlines() if line.strip()), type(error).__name__)
    return f"{failed}: {f'the hub answers {status}: ' if status else ''}{line}"


def remove_from_cache(path: Path) -> None:
    """Remove a file from the cache, and what its link there points to, so that it is downloaded again."""
    if path.is_symlink():
        (path.parent / path.readlink()).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _command(name: str) -> str:
    """Which command makes an exported folder; nothing for a repository that seems to be one, and to be elsewhere."""
    if "/" in name and name.endswith("-onnx"):
        return ""
    return f". This command makes an exported folder: {export_command(name)}"
