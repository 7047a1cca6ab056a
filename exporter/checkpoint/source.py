"""Open the checkpoint that SOURCE names: a folder or file that exists, `demo/...`, or a repository of the hub.

They are tried in that order. Which files a checkpoint has is said by the table in layouts.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from dpr_export.exporter.checkpoint.files import Find, files_of
from dpr_export.exporter.checkpoint.find_checkpoint import Checkpoint, find_checkpoint, find_tokenizer
from dpr_export.exporter.checkpoint.layouts import FACEBOOK
from dpr_export.exporter.errors import ExportError
from dpr_export.exporter.options import DEFAULT_OPTIONS, ExportOptions
from dpr_export.models.artifact.hub import HubOptions, NotInCacheError, Repository, find_repository
from dpr_export.models.kinds import KINDS
from dpr_export.models.progress import Step, silent
from dpr_export.models.telemetry import no_telemetry


@contextmanager
def resolve_checkpoint(
    source: str, options: ExportOptions = DEFAULT_OPTIONS, step: Step = silent
) -> Iterator[Checkpoint]:
    """Yield the checkpoint that `source` names, on this machine for as long as the context lasts.

    Raises:
        ExportError: there is no such checkpoint.
        ValueError: an option does not apply to this source, or has a wrong value.
    """
    if options.revision is not None and (source.startswith("demo/") or Path(source).exists()):
        raise ExportError(f"revision is {options.revision!r}, but {source} is not on the hub")
    if options.heads is not None and not Path(source).is_file():
        raise ValueError(f"heads applies only to a facebookresearch/DPR file, and {source} is not a file")
    if Path(source).is_file():
        yield _facebook_checkpoint(source, options)
    elif source.startswith("demo/") and not Path(source).exists():
        with TemporaryDirectory(prefix="dpr-export-demo-") as folder:
            _make_demo(source.removeprefix("demo/"), Path(folder), step)
            yield _find(files_of(Path(folder)), source, options)
    else:
        yield _find(_open(source, options.revision, options), source, options)


def _find(files: Find, source: str, options: ExportOptions) -> Checkpoint:
    def open_files(name: str, revision: str | None) -> Find:
        return _open(name, revision, options)

    found = find_checkpoint(files, source, options, open_files)
    return replace(found, revision=files.commit) if isinstance(files, HubFiles) else found


def _open(name: str, revision: str | None, options: ExportOptions) -> Find:
    """Return a function that finds the files of a folder, or of a repository on the hub."""
    if Path(name).is_dir():
        return files_of(Path(name))
    if repository := find_repository(name, HubOptions(revision, options.token, for_export=True)):
        return HubFiles(repository)
    raise ExportError(f"there is no folder {name}, and it is not a name on the hub (org/name)")


def _facebook_checkpoint(source: str, options: ExportOptions) -> Checkpoint:
    if options.kind is None or options.tokenizer is None:
        raise ExportError(
            f"{source} is a file: give the folder of a checkpoint, or, for a facebookresearch/DPR file, kind and "
            "tokenizer too (--kind question --tokenizer DIR)"
        )
    if options.pooling not in (None, "cls"):
        raise ExportError(f"pooling is {options.pooling!r}, but the models of facebookresearch/DPR read [CLS]")
    tokenizer = find_tokenizer(_open(str(options.tokenizer), None, options), str(options.tokenizer))
    return Checkpoint(
        name=source,
        layout=FACEBOOK,
        config={},
        weights=(Path(source),),
        tokenizer=tokenizer,
        kind=options.kind,
        heads=options.heads,
    )


def _make_demo(kind: str, folder: Path, step: Step) -> None:
    if kind not in KINDS:
        raise ExportError(f"there is no demo/{kind}, only " + ", ".join(f"demo/{name}" for name in KINDS))
    try:
        with step(f"merge the adapter of demo/{kind} into MiniLM"):
            from dpr_export.exporter.demo.checkpoint import write_checkpoint

            write_checkpoint(kind, folder)
    except ImportError:
        raise ExportError(f'demo/{kind} needs the demo extra: pip install "dpr-export[demo]"') from None


class HubFiles:
    """The files of a repository on the hub, all of the commit of the first one that is found.

    Offline, a file that is not in the cache counts as missing from the repository. Online, only the hub can say that a
    file is missing: without its tokenizer_config.json, a checkpoint would get another tokenizer.

    Raises:
        ExportError: offline, the cache has no such repository.
    """

    def __init__(self, repository: Repository) -> None:
        with no_telemetry():
            from huggingface_hub import constants

        self._repository = repository
        self._missing = (NotInCacheError,) if constants.HF_HUB_OFFLINE else ()
        self._found: dict[str, Path | None] = {}
        self.commit: str | None = None
        cached = Path(constants.HF_HUB_CACHE) / f"models--{repository.name.replace('/', '--')}"
        if constants.HF_HUB_OFFLINE and not cached.is_dir():
            raise self._unreachable()

    def __call__(self, file: str) -> Path | None:
        """Return the place of a file in the cache, after its download; None if the repository has no such file.

        Raises:
            ExportError: the file cannot be downloaded.
        """
        if file not in self._found:
            self._found[file] = path = self._download(file)
            if path is not None and self.commit is None:
                self.commit = path.parents[file.count("/")].name
                self._repository = replace(self._repository, revision=self.commit)
        return self._found[file]

    def _download(self, file: str) -> Path | None:
        try:
            with suppress(*self._missing):
                return self._repository.download(file)
        except NotInCacheError:
            raise self._unreachable() from None
        except OSError as error:
            raise ExportError(str(error)) from None
        return None

    def _unreachable(self) -> ExportError:
        return ExportError(
            f"{self._repository.label} is not in the cache and the hub cannot be reached: check the network and "
            "HF_HUB_OFFLINE, or give the folder of a checkpoint"
        )
