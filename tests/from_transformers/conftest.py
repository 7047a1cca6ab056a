"""One small vocabulary, and each tokenizer class of transformers beside ours of the same name."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import transformers

from dpr_export import runtime

CLASSES = ("DPRQuestionEncoderTokenizer", "DPRContextEncoderTokenizer", "DPRReaderTokenizer")
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"),
    *"who wrote hamlet the play is a test of some words written by shakespeare in un want runn low lowest".split(),
    *(", . ? ! ' - 漢 字 ##漢 ##字 ##ed ##ing ##want ##er ##s".split()),
    *LETTERS[1:],
    *("##" + letter for letter in LETTERS if letter != "s"),
]


class Both(NamedTuple):
    """Ours and transformers', of one class, from one folder."""

    ours: Any
    theirs: Any


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a vocab.txt, for texts in lower case, of at most 512 tokens."""
    folder = tmp_path_factory.mktemp("vocabulary")
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(VOCABULARY)) + "\n", encoding="utf-8")
    config = {"do_lower_case": True, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def load_both(name: str, folder: Path, **options: Any) -> Both:
    """Ours and transformers', which follows the checkpoint's configuration in its Fast class alone."""
    theirs = getattr(transformers, f"{name}Fast").from_pretrained(folder, **options)
    return Both(getattr(runtime, name).from_pretrained(folder, **options), theirs)


@pytest.fixture(params=CLASSES)
def both(request: pytest.FixtureRequest, vocabulary: Path) -> Both:
    """A new pair of each class, which a test may change."""
    return load_both(request.param, vocabulary)


@pytest.fixture
def context(vocabulary: Path) -> Both:
    """A new pair of the context encoder's tokenizer, where the class makes no difference."""
    return load_both("DPRContextEncoderTokenizer", vocabulary)
