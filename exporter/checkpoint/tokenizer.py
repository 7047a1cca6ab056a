"""Read a checkpoint's tokenizer; one without tokenizer.json and vocab.txt is converted by transformers first.

Exported folders have tokenizer.json, so that the runtime needs neither transformers nor sentencepiece.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from dpr_export.exporter.errors import ExportError, cause_of
from dpr_export.models.artifact.records import read_json
from dpr_export.models.config import CONFIG_FILE
from dpr_export.models.kinds import Kind
from dpr_export.models.quiet import quiet_logger
from dpr_export.models.telemetry import no_telemetry
from dpr_export.models.tokenization.by_kind import TOKENIZER_CLASSES
from dpr_export.models.tokenization.encoder_tokenizers import BertTokenizer
from dpr_export.models.tokenization.tokenizer_classes import find_class
from dpr_export.models.tokenization.tokenizer_files import TOKENIZER_FILES
from dpr_export.models.tokenization.tokenizer_options import read_config

_BYTE_LEVEL = ("vocab.json", "merges.txt")
_SENTENCEPIECE = ("sentencepiece.bpe.model", "spiece.model")  # two names of one file
VOCABULARY_FILES = (*_BYTE_LEVEL, *_SENTENCEPIECE)  # those that are converted
# The classes that each kind of file is read with. Which one decides the ids, so a folder must name it.
_CLASSES = {_BYTE_LEVEL: ("RobertaTokenizer",), _SENTENCEPIECE: ("XLMRobertaTokenizer", "CamembertTokenizer")}
_MODEL_TYPES = {"roberta": "RobertaTokenizer", "xlm-roberta": "XLMRobertaTokenizer", "camembert": "CamembertTokenizer"}


def read_tokenizer(kind: Kind, folder: Path) -> BertTokenizer:
    """Read the tokenizer of a checkpoint's folder.

    Raises:
        ExportError: there is none, it cannot be read, or a library that converts it is missing.
    """
    try:
        with _convert(folder) as readable:
            tokenizer = TOKENIZER_CLASSES[kind.name].from_pretrained(readable)
    except (OSError, ValueError) as error:
        raise ExportError(f"the tokenizer of {folder} cannot be read: {cause_of(error)}") from None
    tokenizer.name_or_path = str(folder)
    return tokenizer


def gives_token_types(folder: Path) -> bool:
    """Whether transformers' tokenizer for a folder makes token_type_ids, as its files say."""
    config = read_config(folder)
    names = config.get("model_input_names")
    if isinstance(names, list):
        return "token_type_ids" in names
    return not str(config.get("tokenizer_class")).startswith("DistilBert")


@contextmanager
def _convert(folder: Path) -> Iterator[Path]:
    """Yield a folder that the runtime's tokenizers can read: the given one, or a temporary one."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    files = _BYTE_LEVEL if names.issuperset(_BYTE_LEVEL) else tuple(names.intersection(_SENTENCEPIECE))[:1]
    if files and "vocab.txt" in names and "tokenizer.json" not in names:
        raise ValueError(f"it holds vocab.txt and {files[0]}, of which only one can be the vocabulary")
    if names & {"tokenizer.json", "vocab.txt"} or not files:
        yield folder
        return
    class_name = _choose_class(folder, files)
    with TemporaryDirectory(prefix="dpr-export-tokenizer-") as temporary:
        source, target = Path(temporary, "source"), Path(temporary, "target")
        source.mkdir()
        for name in names.intersection(TOKENIZER_FILES):
            shutil.copyfile(folder / name, source / name)
        for name in files:
            shutil.copyfile(folder / name, source / (name if files == _BYTE_LEVEL else _SENTENCEPIECE[0]))
        _save_fast(class_name, source, target)
        yield target


def _choose_class(folder: Path, files: tuple[str, ...]) -> str:
    """Return the transformers class that the folder's files name, or that fits its model_type."""
    config = read_config(folder)
    accepted = _CLASSES[_BYTE_LEVEL if files == _BYTE_LEVEL else _SENTENCEPIECE]
    named = find_class(config) if config.get("tokenizer_class") is not None else None
    if named is None and (folder / CONFIG_FILE).is_file():
        named = _MODEL_TYPES.get(read_json(folder / CONFIG_FILE).get("model_type"))
    if named is None and len(accepted) == 1:
        return accepted[0]
    if named not in accepted:
        raise ValueError(f"tokenizer_class is {named!r}, but {files[0]} is read with {' or '.join(accepted)}")
    return named


def _save_fast(class_name: str, source: Path, target: Path) -> None:
    """Write the tokenizer.json that transformers makes of a vocabulary."""
    if class_name != "RobertaTokenizer":
        try:
            for library in ("sentencepiece", "google.protobuf"):
                import_module(library)
        except ImportError:
            raise ExportError(
                f'{_SENTENCEPIECE[0]} is converted with sentencepiece and protobuf: pip install "dpr-export[export]"'
            ) from None
    with no_telemetry():
        import transformers
    try:
        with quiet_logger("transformers"):
            getattr(transformers, f"{class_name}Fast").from_pretrained(source).save_pretrained(target)
    except Exception as error:  # transformers and sentencepiece raise whatever a damaged file leads them to
        raise ValueError(f"transformers cannot convert it: {cause_of(error)}") from None
