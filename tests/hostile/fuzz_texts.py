"""Texts to break the tokenizers with: rows, offsets, masks, padding and cuts, compared with transformers'."""

import json
import shutil
import warnings
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import transformers

from dpr_export.models.tokenization.encoder_tokenizers import DPRContextEncoderTokenizer
from dpr_export.models.tokenization.reader_tokenizer import DPRReaderTokenizer
from tests.hostile.fuzz import Target
from tests.models.conftest import BERT, LETTERS, ODD

WORDS = "who wrote hamlet shakespeare unbelievably café naïve q x1 3.14 don't [SEP] [PAD] [CLS] [UNK] [MASK]".split()
SURROGATES = "\ud800", "\udfff\ud800", "a\udc80"
TRUNCATIONS = None, True, False, "longest_first", "only_first", "only_second", "do_not_truncate"
PADDINGS = False, True, "longest", "max_length", "do_not_pad"
CONFIGS: dict[str, dict[str, Any]] = {
    "uncased": {"do_lower_case": True, "model_max_length": 512},
    "cased": {"do_lower_case": False, "strip_accents": True, "model_max_length": 64},
    "no-chinese": {"tokenize_chinese_chars": False, "strip_accents": False},
    "left": {"padding_side": "left", "truncation_side": "left", "model_max_length": 40},
    "added": {"additional_special_tokens": ["<x>", "[NEW]"], "clean_up_tokenization_spaces": True},
}


def write_tokenizers(root: Path) -> dict[str, Path]:
    """Folders of tokenizers, by name: BERT's vocabulary with the configurations above."""
    for name, config in CONFIGS.items():
        (root / name).mkdir(parents=True)
        shutil.copy(BERT / "vocab.txt", root / name)
        (root / name / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return {name: root / name for name in CONFIGS}


def make_text(chance: Random) -> str:
    """Odd strings, words, and characters of every block, glued or apart, and now and then one slice out of place."""
    text = chance.choice((" ", "", "-")).join(_piece(chance) for _ in range(chance.randint(0, 5)))
    if text and chance.random() < 0.3:
        start, end = sorted((chance.randint(0, len(text)), chance.randint(0, len(text))))
        place = chance.randint(0, len(text))
        text = chance.choice((text[:start] + text[end:], text[:place] + text[start:end] + text[place:], text[::-1]))
    return text


def _piece(chance: Random) -> str:
    kind = chance.randint(0, 19)
    if kind == 0:
        return chance.choice("aé漢") * chance.randint(97, 103)
    if kind < 8:
        word = chance.choice(WORDS)
        return chance.choice((word, word, word.upper(), word + chance.choice(WORDS)))
    if kind < 13:
        return chance.choice(ODD)[:110]
    low, high = chance.choice(list(LETTERS.values()))
    letters = (chr(chance.randint(low, high)) for _ in range(chance.randint(1, 4)))
    return "".join(letter for letter in letters if not "\ud800" <= letter <= "\udfff")


def make_texts(chance: Random, columns: int) -> tuple[Any, ...]:
    """So many columns of strings: each one string, or lists of one length."""
    if chance.random() < 0.3:
        return tuple(make_text(chance) for _ in range(columns))
    count = chance.randint(1, 4)
    made = tuple([make_text(chance) for _ in range(count)] for _ in range(columns))
    if chance.random() < 0.02:
        made[0][0] += chance.choice(SURROGATES)
    return made


def make_options(chance: Random, choices: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    """Some of the options, with one of their values; max_length with any small number."""
    options = {name: chance.choice(values) for name, values in choices.items() if chance.random() < 0.4}
    if chance.random() < 0.6:
        options["max_length"] = chance.choice((None, 0, 1, 2, 3, 4, chance.randint(3, 40)))
    return options


ENCODER_OPTIONS = {
    "padding": PADDINGS,
    "truncation": TRUNCATIONS,
    "add_special_tokens": (True, False),
    "pad_to_multiple_of": (None, 1, 4, 8),
    "padding_side": ("left", "right", None),
    "return_tensors": (None, "np"),
    "return_token_type_ids": (True, False),
    "return_attention_mask": (True, False),
    "return_special_tokens_mask": (True,),
    "return_offsets_mapping": (True,),
    "return_length": (True,),
}
READER_OPTIONS = {"padding": PADDINGS, "truncation": TRUNCATIONS[1:], "return_tensors": (None, "np")}


def encoder_case(chance: Random) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    return chance.choice(list(CONFIGS)), make_texts(chance, chance.randint(1, 2)), make_options(chance, ENCODER_OPTIONS)


def reader_case(chance: Random) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    question, titles, texts = make_texts(chance, 3)
    if isinstance(question, list) and chance.random() < 0.7:
        question = question[0]
    return chance.choice(list(CONFIGS)), (question, titles, texts), make_options(chance, READER_OPTIONS)


def outcome(tokenizer: Any, texts: tuple[Any, ...], options: dict[str, Any], refusals: Any) -> Any:
    """What a call returns, as plain lists, or "refused"."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # transformers' advice
            encoding = tokenizer(*texts, **options)
    except refusals:
        return "refused"
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in encoding.items()}


def check_encoder(ours: dict[str, Any], theirs: dict[str, Any], case: Any) -> None:
    name, texts, options = case
    got = outcome(ours[name], texts, options, (ValueError, TypeError))
    expected = outcome(theirs[name], texts, options, Exception)
    if got == "refused" and expected != "refused":
        assert _too_short(texts, options) or _ragged(theirs[name], texts, options), "transformers does not refuse it"
        return
    assert got == expected
    if got == "refused":
        return
    rows = got["input_ids"] if isinstance(got["input_ids"][:1], list) and got["input_ids"] else []
    for skip in (True, False):
        assert ours[name].decode(rows, skip) == theirs[name].decode(rows, skip)


def _too_short(texts: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Mended: where max_length is below the number of special tokens transformers cuts nothing."""
    edges = len(texts) + 1 if options.get("add_special_tokens", True) else 0
    longest = options.get("max_length")
    return longest is not None and longest < edges


def check_reader(ours: dict[str, Any], theirs: dict[str, Any], case: Any) -> None:
    name, texts, options = case
    if options.get("truncation") in (False, "do_not_truncate"):  # mended: transformers cuts here too
        options = {**options, "truncation": False}
    got = outcome(ours[name], texts, options, (ValueError, TypeError))
    expected = outcome(theirs[name], texts, options, Exception)
    if got == "refused" and expected != "refused":
        assert _ragged(theirs[name], texts, options), "transformers does not refuse it"
    else:
        assert got == expected
    check_rows(ours[name], texts)


def _ragged(tokenizer: Any, texts: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Mended: of rows that differ in length transformers makes an array of objects."""
    if options.get("return_tensors") != "np":
        return False
    rows = outcome(tokenizer, texts, {**options, "return_tensors": None}, Exception)
    return rows != "refused" and len({len(row) for row in rows["input_ids"]}) > 1


def check_rows(tokenizer: DPRReaderTokenizer, texts: tuple[Any, ...]) -> None:
    """The rows of `answer` are the call's, and their offsets are places of the text, in order."""
    try:
        whole = tokenizer(*texts)["input_ids"]
    except ValueError:
        return
    rows = tokenizer.encode_passages(*texts, max_length=10**6)
    assert [row.input_ids for row in rows] == whole
    passages = [texts[2]] if isinstance(texts[2], str) else texts[2]
    for row, passage in zip(rows, passages, strict=True):
        assert len(row.offsets) == len(row.input_ids) - row.text_start
        places = row.offsets.ravel().tolist()
        assert places == sorted(places) or any(mark in passage for mark in ODD)
        assert all(0 <= place <= len(passage) for place in places)


def text_targets(root: Path) -> list[Target]:
    """The tokenizers of the encoders, and the reader's."""
    transformers.logging.set_verbosity_error()
    folders = write_tokenizers(root / "tokenizers")
    ours = {name: DPRContextEncoderTokenizer.from_pretrained(folder) for name, folder in folders.items()}
    theirs = {name: transformers.BertTokenizerFast.from_pretrained(folder) for name, folder in folders.items()}
    reader = {name: DPRReaderTokenizer.from_pretrained(folder) for name, folder in folders.items()}
    reference = {name: transformers.DPRReaderTokenizerFast.from_pretrained(folder) for name, folder in folders.items()}
    return [
        Target("encoders", encoder_case, partial(check_encoder, ours, theirs)),
        Target("passages", reader_case, partial(check_reader, reader, reference)),
    ]
