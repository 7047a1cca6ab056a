"""Find the checkpoint that SOURCE names: a folder or file that exists, `demo/...`, or a repository of the hub.

They are tried in that order. What the files of a checkpoint contain is read in load.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from dpr_export.exporter.errors import ExportError
from dpr_export.exporter.options import DEFAULT_OPTIONS, ExportOptions
from dpr_export.models.artifact.hub import HubOptions, NotInCacheError, Repository, find_repository
from dpr_export.models.config import CONFIG_FILE
from dpr_export.models.kinds import KINDS
from dpr_export.models.progress import Step, silent
from dpr_export.models.telemetry import no_telemetry
from dpr_export.models.tokenization.tokenizer_files import TOKENIZER_FILES

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "tf_model.h5")  # the first that exists is read


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on this machine."""

    folder: Path  # holds its files; for a facebookresearch/DPR file, those of its tokenizer
    name: str  # the SOURCE that was asked for
    revision: str | None = None  # the hub's commit; None for other sources
    file: Path | None = None  # the facebookresearch/DPR file; None for other sources
    kind: str = ""  # the model to read from that file
    heads: int | None = None  # the number of attention heads in that file; None: the hidden size / 64

    @property
    def weights(self) -> Path:
        """The file of weights.

        Raises:
            ExportError: there is none.
        """
        if self.file:
            return self.file
        for name in WEIGHT_FILES:
            if (self.folder / name).is_file():
                return self.folder / name
        raise ExportError(f"{self.name} has no weights: none of {', '.join(WEIGHT_FILES)} exists")


@contextmanager
def resolve_checkpoint(
    source: str, options: ExportOptions = DEFAULT_OPTIONS, step: Step = silent
) -> Iterator[Checkpoint]:
    """Yield the checkpoint that `source` names, on this machine for as long as the context lasts.

    Raises:
        ExportError: there is no such checkpoint.
        ValueError: an option does not apply to this source, or has a wrong value.
    """
    is_demo = source.startswith("demo/")
    if options.revision is not None and (is_demo or Path(source).exists()):
        raise ExportError(f"revision is {options.revision!r}, but {source} is not on the hub")
    if not Path(source).is_file():
        for name in ("kind", "tokenizer", "heads"):
            if getattr(options, name) is not None:
                raise ValueError(f"{name} applies only to a facebookresearch/DPR file, and {source} is not a file")
    if Path(source).is_dir():
        yield Checkpoint(Path(source), source)
    elif Path(source).exists():
        yield _facebook_checkpoint(source, options)
    elif is_demo:
        with TemporaryDirectory(prefix="dpr-export-demo-") as folder:
            yield _make_demo(source.removeprefix("demo/"), Path(folder), step)
    elif repository := find_repository(source, HubOptions(options.revision, options.token, for_export=True)):
        yield _download(repository)
    else:
        raise ExportError(f"there is no folder {source}, and it is not a name on the hub (org/name)")


def _facebook_checkpoint(source: str, options: ExportOptions) -> Checkpoint:
    if options.kind is None or options.tokenizer is None:
        raise ExportError(
            f"{source} is a file: give the folder of a checkpoint, or, for a facebookresearch/DPR file, kind and "
            "tokenizer too (--kind question --tokenizer DIR)"
        )
    tokenizer = Path(options.tokenizer)
    if not tokenizer.is_dir():
        raise ValueError(f"tokenizer is {tokenizer}, and must be a folder with tokenizer.json or vocab.txt")
    return Checkpoint(tokenizer, source, file=Path(source), kind=options.kind, heads=options.heads)


def _make_demo(kind: str, folder: Path, step: Step) -> Checkpoint:
    if kind not in KINDS:
        raise ExportError(f"there is no demo/{kind}, only " + ", ".join(f"demo/{name}" for name in KINDS))
    try:
        with step(f"merge the adapter of demo/{kind} into MiniLM"):
            from dpr_export.exporter.demo.checkpoint import write_checkpoint

            write_checkpoint(kind, folder)
    except ImportError:
        raise ExportError(f'demo/{kind} needs the demo extra: pip install "dpr-export[demo]"') from None
    return Checkpoint(folder, f"demo/{kind}")


def _download(repository: Repository) -> Checkpoint:
    """Download the files that an export reads, all of one commit: the small ones, and one file of weights.

    Offline, a file that is not in the cache counts as missing from the repository. Online, only the hub can say that a
    file is missing: without its tokenizer_config.json, a checkpoint would get another tokenizer.
    """
    with no_telemetry():
        from huggingface_hub import constants

    missing = (NotInCacheError,) if constants.HF_HUB_OFFLINE else ()
    try:
        config = repository.download(CONFIG_FILE)
        if config is None:
            raise ExportError(f"{repository.label} on the hub has no {CONFIG_FILE}, so it is not a checkpoint")
        repository = replace(repository, revision=config.parent.name)
        for file in TOKENIZER_FILES:
            with suppress(*missing):
                repository.download(file)
        for file in WEIGHT_FILES:
            with suppress(*missing):
                if repository.download(file):
                    break
    except NotInCacheError:
        raise ExportError(
            f"{repository.label} is not in the cache and the hub cannot be reached: check the network and "
            "HF_HUB_OFFLINE, or give the folder of a checkpoint"
        ) from None
    except OSError as error:
        raise ExportError(str(error)) from None
    return Checkpoint(config.parent, repository.name, repository.revision)
