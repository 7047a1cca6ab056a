"""Tiny tokenizers, trained on `CORPUS`: WordPiece, byte-level BPE and SentencePiece, as transformers writes them."""

import io
import unicodedata
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sentencepiece
import transformers
from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer

from tests.layouts.texts import CORPUS

LENGTH = 128  # tokens of the longest row
WORDPIECE = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SENTENCEPIECE = "sentencepiece.bpe.model"


def write_vocab(folder: Path, *, lower: bool = False) -> None:
    """Write `vocab.txt` alone, as BERT's first repositories have it."""
    _write(folder, _wordpiece(lower))


def write_bpe(folder: Path) -> None:
    """Write `vocab.json` and `merges.txt` alone, as RoBERTa's first repositories have them."""
    _write(folder, _bpe())


def write_sentencepiece(folder: Path) -> None:
    """Write SentencePiece's own file alone, which XLM-R's and CamemBERT's first repositories have."""
    _write(folder, {SENTENCEPIECE: _sentencepiece()})


def bert(lower: bool = False, classname: str = "BertTokenizer", **options: Any) -> Any:
    """A WordPiece tokenizer of transformers, of rows of up to `LENGTH` tokens."""
    return _load(classname, _wordpiece(lower), do_lower_case=lower, **options)


def roberta() -> Any:
    return _load("RobertaTokenizer", _bpe())


def xlm_roberta() -> Any:
    return _load("XLMRobertaTokenizer", {SENTENCEPIECE: _sentencepiece()})


def camembert() -> Any:
    return _load("CamembertTokenizer", {SENTENCEPIECE: _sentencepiece()})


def _load(classname: str, files: dict[str, bytes], **options: Any) -> Any:
    with TemporaryDirectory() as folder:
        _write(Path(folder), files)
        tokenizer = getattr(transformers, classname).from_pretrained(folder, model_max_length=LENGTH, **options)
    for name in ("is_local", "local_files_only"):  # of this call, which save_pretrained would write
        tokenizer.init_kwargs.pop(name, None)
    return tokenizer


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _trained(tokenizer: Any, special: list[str], size: int) -> dict[str, bytes]:
    tokenizer.train_from_iterator(CORPUS, size, 1, special_tokens=special, show_progress=False)
    with TemporaryDirectory() as folder:
        tokenizer.save_model(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@cache
def _wordpiece(lower: bool) -> dict[str, bytes]:
    # The trainer numbers parts of words in a random order unless they are there before, and breaks ties by number.
    text = "".join(CORPUS)
    parts = sorted({f"##{letter}" for letter in text + unicodedata.normalize("NFD", text.lower())} - {"## "})
    return _trained(BertWordPieceTokenizer(lowercase=lower), WORDPIECE + parts, 900)


@cache
def _bpe() -> dict[str, bytes]:
    return _trained(ByteLevelBPETokenizer(), ROBERTA, 500)


@cache
def _sentencepiece() -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 3),
        model_writer=model,
        vocab_size=600,
        hard_vocab_limit=False,  # a small corpus has fewer pieces
        character_coverage=1.0,
        minloglevel=2,
    )
    return model.getvalue()
