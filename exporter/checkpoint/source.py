"""Find the checkpoint that SOURCE names: an existing folder, `demo/...`, or a repository of the hub; in that order.

A file is a checkpoint of the first DPR code, which does not say all there is to know: see `FirstCode`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from dpr_export.exporter.errors import ExportError
from dpr_export.models.artifact.hub import NotInCacheError, Repository
from dpr_export.models.kinds import KINDS
from dpr_export.runtime.inference.progress import Step, silent

SMALL_FILES = (
    "config.json",
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "tf_model.h5")
_DEMO = re.compile(r"demo/(.*)")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class Unsaid:
    """What a file of the first DPR code does not say, as far as it is given; all of it is None for other sources.

    Attributes:
        kind: which model: "question", "context" or "reader".
        tokenizer: a folder with tokenizer.json or vocab.txt.
        heads: the number of attention heads; None: heads are 64 wide.
    """

    kind: str | None = None
    tokenizer: str | Path | None = None
    heads: int | None = None


@dataclass(frozen=True, slots=True)
class FirstCode:
    """A file that the first DPR code wrote, the kind of the model that is wanted of it, and how many heads it has."""

    file: Path
    kind: str
    heads: int | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on this machine.

    Attributes:
        folder: where its files lie; of a file of the first DPR code, its tokenizer's.
        name: what it was asked for as.
        revision: the hub's commit; None for anything else.
        first_code: the file that the first DPR code wrote; None for anything else.
    """

    folder: Path
    name: str
    revision: str | None = None
    first_code: FirstCode | None = None

    @property
    def weights(self) -> Path:
        """The file of weights: safetensors where there is one, TensorFlow's where there is no other.

        Raises:
            ExportError: there is none.
        """
        if self.first_code:
            return self.first_code.file
        for name in WEIGHT_FILES:
            if (self.folder / name).is_file():
                return self.folder / name
        raise ExportError(f"{self.name} has no weights: looked for {' and '.join(WEIGHT_FILES)}")


@contextmanager
def found(
    source: str,
    revision: str | None = None,
    token: str | None = None,
    step: Step = silent,
    unsaid: Unsaid = Unsaid(),
) -> Iterator[Checkpoint]:
    """Yield the checkpoint that `source` names, on this machine for as long as the context lasts.

    Args:
        source: a folder, `demo/question`, `demo/context`, `demo/reader`, a name on the hub, or a file of the first DPR
            code.
        revision: the hub's branch, tag or commit; its default branch where None.
        token: the hub's access token; the one logged in with where None.
        step: told of the making of a demo checkpoint; a download draws the hub's own progress bars.
        unsaid: what a file of the first DPR code does not say.

    Raises:
        ExportError: nothing of that name can be had.
        ValueError: `unsaid` is given for another source, or is wrong.
    """
    demo = _DEMO.fullmatch(source)
    if revision is not None and (demo or Path(source).exists()):
        raise ExportError(f"revision is {revision!r}, and {source} is not on the hub: only the hub has revisions")
    if not Path(source).is_file():
        for name, value in asdict(unsaid).items():
            if value is not None:
                raise ValueError(
                    f"{name} is given, and {source} is no file: kind, tokenizer and heads are for a file of the first "
                    "DPR code"
                )
    if Path(source).is_dir():
        yield Checkpoint(Path(source), source)
    elif Path(source).exists():
        yield _first_code(source, unsaid)
    elif demo:
        with TemporaryDirectory(prefix="dpr-export-demo-") as folder:
            yield _demo(demo.group(1), Path(folder), step)
    elif _HUB_NAME.fullmatch(source) and not source.startswith("."):
        yield _downloaded(source, revision, token)
    else:
        raise ExportError(f"there is no folder {source}, and it is no name on the hub (org/name)")


def _first_code(source: str, unsaid: Unsaid) -> Checkpoint:
    if unsaid.kind is None or unsaid.tokenizer is None:
        raise ExportError(
            f"{source} is a file: give the folder of a checkpoint, or with a file of the first DPR code kind and "
            "tokenizer too (--kind question --tokenizer DIR)"
        )
    if unsaid.kind not in KINDS:
        raise ValueError(f"kind is {unsaid.kind!r}, and must be one of {', '.join(KINDS)}")
    if unsaid.heads is not None and unsaid.heads < 1:
        raise ValueError(f"heads is {unsaid.heads}, and must be 1 or more")
    if not Path(unsaid.tokenizer).is_dir():
        raise ValueError(f"tokenizer is {unsaid.tokenizer}, and must be a folder with tokenizer.json or vocab.txt")
    return Checkpoint(Path(unsaid.tokenizer), source, first_code=FirstCode(Path(source), unsaid.kind, unsaid.heads))


def _demo(kind: str, folder: Path, step: Step) -> Checkpoint:
    if kind not in KINDS:
        raise ExportError(f"there is no demo/{kind}, only " + ", ".join(f"demo/{name}" for name in KINDS))
    try:
        with step(f"make demo/{kind} from MiniLM and its adapter"):
            from dpr_export.exporter.demo.checkpoint import write_checkpoint
            from dpr_export.exporter.quiet import quietly

            with quietly():
                write_checkpoint(kind, folder)
    except ImportError:
        raise ExportError(f'demo/{kind} needs the demo extra: pip install "dpr-export[demo]"') from None
    return Checkpoint(folder, f"demo/{kind}")


def _downloaded(name: str, revision: str | None, token: str | None) -> Checkpoint:
    """Download the few files an export reads, one after another and all of one commit: the first that is there of the
    files of weights, after the small ones.

    Offline, what is not in the cache is taken not to exist. Else only the hub can say that: a tokenizer's configuration
    that was lost on the way would make another tokenizer.
    """
    from huggingface_hub import constants

    asked = Repository(name, revision, token, for_export=True)
    absent = (NotInCacheError,) if constants.HF_HUB_OFFLINE else ()
    try:
        config = asked.download(SMALL_FILES[0])
        if config is None:
            raise ExportError(f"{asked.where} on the hub has no {SMALL_FILES[0]}, so it is no checkpoint")
        asked = replace(asked, revision=config.parent.name)
        for file in SMALL_FILES[1:]:
            with suppress(*absent):
                asked.download(file)
        for file in WEIGHT_FILES:
            with suppress(*absent):
                if asked.download(file):
                    break
    except NotInCacheError:
        raise ExportError(
            f"{asked.where} is not in the cache and the hub cannot be reached: check the network and HF_HUB_OFFLINE, "
            "or give the folder of a checkpoint"
        ) from None
    except OSError as error:
        raise ExportError(str(error)) from None
    return Checkpoint(config.parent, name, revision=config.parent.name)
