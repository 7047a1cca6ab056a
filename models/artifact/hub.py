"""Download single files of a repository on the Hugging Face hub, through the cache of huggingface_hub.

That library is imported when a file is first looked up on the hub, so that loading a local folder never waits for it.
Its errors (no such repository, no network, no token) become an OSError of one line.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from dpr_export.models.export_command import export_command
from dpr_export.models.quiet import quiet_logger
from dpr_export.models.telemetry import no_telemetry

_NAME = re.compile(r"(?!\.)[\w.-]+(/[\w.-]+)?")
# One line for each error class of the library, by name, so that it need not be imported here.
_MESSAGES = {
    "GatedRepoError": "{name} on the hub is gated: ask for access on its page, and give a token (token=, or HF_TOKEN)",
    "DisabledRepoError": "{name} on the hub has been disabled",
    "RevisionNotFoundError": "{name} on the hub has no revision {revision}: give a branch, a tag or a commit",
    "RepositoryNotFoundError": "there is no folder {name}, and no such repository on the hub, or a private one: check "
    "the name, or give a token (token=, or HF_TOKEN){command}",
    "HFValidationError": "there is no folder {name}, and it can be no repository's name on the hub{command}",
}


class NotInCacheError(OSError):
    """A file is not in the cache, and the hub was not asked or cannot be reached."""


@dataclass(frozen=True)
class HubOptions:
    """The options of downloads."""

    revision: str | None = None  # a branch, tag or commit; None: the main branch
    token: str | bool | None = None  # the access token; None: the one of the login; False: none
    cache_dir: str | Path | None = None  # the folder of the cache; None: the default of huggingface_hub
    local_files_only: bool = False  # read files from the cache alone
    for_export: bool = False  # the repository is read as a checkpoint, so that no error suggests to export it


NO_OPTIONS = HubOptions()


@dataclass(frozen=True, kw_only=True)
class Repository(HubOptions):
    """A repository of the hub, "org/name" or "name", at a revision."""

    name: str

    @property
    def remedy(self) -> str:
        """The end of an error message: the command that exports a checkpoint of that name, unless it does not help."""
        if self.for_export or ("/" in self.name and self.name.endswith("-onnx")):
            return ""
        return f". This command makes an exported folder: {export_command(self.name)}"

    @property
    def label(self) -> str:
        """The name and the revision, for messages."""
        return f"{self.name}@{self.revision}" if self.revision else self.name

    def download(self, file: str) -> Path | None:
        """Download a file, and return its path in the cache; None if the repository has no such file.

        Raises:
            NotInCacheError: it is not in the cache, and the hub was not asked or cannot be reached.
            OSError: it cannot be downloaded for another reason.
        """
        with no_telemetry():
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


def find_repository(name: str | Path, options: HubOptions = NO_OPTIONS) -> Repository | None:
    """Return the repository of the hub that a name refers to; None for a path on this machine.

    An existing path wins, and a `Path` never refers to the hub.

    >>> find_repository("facebook/dpr-reader-single-nq-base").name
    'facebook/dpr-reader-single-nq-base'
    >>> find_repository("./reader-onnx"), find_repository(Path("my/reader-onnx"))
    (None, None)
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or Path(name).exists():
        return None
    return Repository(**vars(options), name=name)


def hub_errors() -> tuple[type[Exception], ...]:
    """Return the errors that huggingface_hub raises: its own, and those of its HTTP library."""
    with no_telemetry():
        from huggingface_hub.errors import HfHubHTTPError

    http_error: type[Exception] = HfHubHTTPError.__mro__[1]  # of requests, httpx or httpx2, depending on the release
    # It parses the hub's answers without checks, hence the last three.
    return http_error, OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError


def explain_hub_error(error: BaseException, repository: Repository, failed: str) -> str:
    """Return one line about an error of huggingface_hub; one without a message here is described after `failed`."""
    for kind in type(error).__mro__:
        if words := _MESSAGES.get(kind.__name__):
            return words.format(name=repository.name, revision=repository.revision or "main", command=repository.remedy)
    return describe_hub_error(error, failed)


def describe_hub_error(error: BaseException, failed: str) -> str:
    """Return `failed` followed by the first line of the error's message."""
    while error.__cause__ is not None and not hasattr(error, "server_message"):  # an attribute of the library's errors
        error = error.__cause__
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return f"{failed}: the hub refuses the token, or needs one (--token or token=, HF_TOKEN, hf auth login)"
    words = getattr(error, "strerror", None) or getattr(error, "server_message", None) or str(error)
    line = next((line.strip() for line in str(words).splitlines() if line.strip()), type(error).__name__)
    return f"{failed}: {f'the hub answers {status}: ' if status else ''}{line}"


def remove_from_cache(path: Path) -> None:
    """Remove a file of the cache and the target of its link, so that it is downloaded again."""
    if path.is_symlink():
        (path.parent / path.readlink()).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
