"""What transformers' own tests ask of a vocabulary: special and added tokens, files, pickles, names."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import AddedToken

from dpr_export import runtime
from dpr_export.runtime import DPRContextEncoderTokenizer, DPRReaderTokenizer
from tests.from_transformers.conftest import Both, load_both
from tests.from_transformers.test_tokenizers_as_tested_there import PAIR, TEXT, TEXTS, same

HIDDEN = {"__type": "AddedToken", "content": "[MASK]", "lstrip": True, "normalized": False}
NAMES = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def test_the_properties_that_every_tokenizer_has_are_there(both: Both) -> None:
    ours, theirs = both
    for name in (*NAMES, "bos_token", "eos_token"):
        assert getattr(ours, name) == getattr(theirs, name), name
        assert getattr(ours, f"{name}_id") == getattr(theirs, f"{name}_id"), name
    for name in (
        *("special_tokens_map", "all_special_tokens", "all_special_ids", "extra_special_tokens", "is_fast"),
        *("extra_special_tokens_ids", "added_tokens_encoder", "model_max_length", "padding_side", "truncation_side"),
        *("pad_token_type_id", "name_or_path", "max_len_single_sentence", "max_len_sentences_pair", "vocab_size"),
    ):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.additional_special_tokens == ours.additional_special_tokens_ids == []
    assert ours.get_added_vocab() == theirs.get_added_vocab()
    assert {number: str(token) for number, token in ours.added_tokens_decoder.items()} == {
        number: str(token) for number, token in theirs.added_tokens_decoder.items()
    }
    for part in (f"{type(ours).__name__}(name_or_path=", "vocab_size=", "model_max_length=512", "'cls_token': '[CLS]'"):
        assert part in repr(ours)
        assert part in repr(theirs) or "Tokenizer" in part


@pytest.mark.parametrize("name", NAMES)
def test_a_special_token_is_set_by_its_name_and_by_its_id(name: str, both: Both) -> None:
    for attribute, value in ((f"{name}_id", 6), (name, "[unused0]"), (f"{name}_id", 9)):
        for tokenizer in both:
            setattr(tokenizer, attribute, value)
        assert getattr(both.ours, name) == getattr(both.theirs, name)
        assert getattr(both.ours, f"{name}_id") == getattr(both.theirs, f"{name}_id")
        assert both.ours.special_tokens_map == both.theirs.special_tokens_map
        assert both.ours.all_special_ids == both.theirs.all_special_ids


@pytest.mark.parametrize("name", NAMES)
def test_a_special_token_that_is_not_in_the_vocabulary_is_refused(name: str, both: Both) -> None:
    """Mended: transformers then has the unknown token's id, or none."""
    for attribute, value in ((name, "[NEW]"), (name, None), (f"{name}_id", 10**6)):
        with pytest.raises(ValueError, match=f"{attribute} is {value!r}".replace("[", r"\[") + ".*not in the vocab"):
            setattr(both.ours, attribute, value)
    assert both.ours.special_tokens_map == both.theirs.special_tokens_map


def test_rows_follow_the_special_tokens_that_are_set(context: Both) -> None:
    """Mended: transformers' rows keep the ones it was loaded with."""
    context.ours.cls_token, context.ours.sep_token = "[unused0]", "[unused1]"
    encoded = context.ours("who", "wrote")
    assert encoded.tokens() == ["[unused0]", "who", "[unused1]", "wrote", "[unused1]"]
    assert encoded.input_ids == encoded[0].ids == context.ours.convert_tokens_to_ids(encoded.tokens())


def test_special_tokens_that_are_added_are_never_split(both: Both) -> None:
    for tokenizer in both:
        assert tokenizer.add_tokens(["[SPECIAL_TOKEN_1]"], special_tokens=True) == 1
        added = {"additional_special_tokens": ["[SPECIAL_TOKEN_2]"]}
        assert tokenizer.add_special_tokens(added, replace_extra_special_tokens=False) == 1
        for token in ("[SPECIAL_TOKEN_1]", "[SPECIAL_TOKEN_2]"):
            assert tokenizer.tokenize(token) == [token]
    texts = ["who[SPECIAL_TOKEN_1] wrote [SPECIAL_TOKEN_2]", *TEXTS]
    same(both.ours.batch_encode_plus(texts), both.theirs(texts))
    ids = both.ours.encode(texts[0])
    for skip in (True, False):
        assert both.ours.decode(ids, skip_special_tokens=skip) == both.theirs.decode(ids, skip_special_tokens=skip)


def test_added_tokens_are_counted_and_encoded_as_there(both: Both) -> None:
    before = len(both.ours)
    for tokens, count in (
        ("", 0),
        ("testoken", 1),
        (["testoken1", "testtoken2"], 2),
        (["testoken"], 0),
        ([AddedToken("aaaaa bbbbbb", lstrip=True, rstrip=True), AddedToken("CCCC", normalized=False)], 2),
        (["extra_id_1", "extra_id_100"], 2),
    ):
        added = [tokenizer.add_tokens(tokens) for tokenizer in both]
        assert added == [count, count]
    assert len(both.ours) == len(both.theirs) > before
    assert both.ours.vocab_size == both.theirs.vocab_size == before
    assert both.ours.get_vocab() == both.theirs.get_vocab()
    texts = [
        "who testoken aaaaa bbbbbb low",
        "AAAAA BBBBBB CCCC cccc testoken1x",
        "This is some extra_id_100 extra_id_1",
        *TEXTS,
    ]
    same(both.ours.batch_encode_plus(texts), both.theirs(texts))
    assert "extra_id_100" in both.ours.tokenize(texts[2])


def test_named_special_tokens_are_added_and_named(both: Both) -> None:
    for tokenizer in both:
        assert tokenizer.add_special_tokens({}) == 0
        assert (
            tokenizer.add_special_tokens({"pad_token": "[BLANK]", "mask_token": AddedToken("[HIDE]", lstrip=True)}) == 2
        )
        assert tokenizer.add_special_tokens({"additional_special_tokens": ["<3>", "<4>"]}) == 2
        assert tokenizer.add_special_tokens({"extra_special_tokens": ["<5>", "<4>"]}) == 1
    ours, theirs = both
    assert ours.extra_special_tokens == ours.additional_special_tokens == theirs.extra_special_tokens == ["<5>", "<4>"]
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert ours.all_special_ids == theirs.all_special_ids
    text = "who [BLANK] <3><4> <5>  [HIDE]"
    same(ours.batch_encode_plus([text, "who"], padding=True), theirs([text, "who"], padding=True))
    for tokenizer in both:
        tokenizer.add_special_tokens({"extra_special_tokens": ["<6>", "<4>"]}, replace_extra_special_tokens=False)
    assert ours.extra_special_tokens == theirs.extra_special_tokens == ["<5>", "<4>", "<6>"]
    ours.additional_special_tokens_ids = ours.convert_tokens_to_ids(["<3>"])
    assert ours.additional_special_tokens == ["<3>"]
    ours.additional_special_tokens = []
    assert ours.additional_special_tokens == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bos_token": "[BOS]"}, "'bos_token' is no special token of BERT's rows: unk_token, sep_token"),
        ({"additional_special_tokens": "<1>"}, "additional_special_tokens is '<1>', but must be a list of strings"),
        ({"pad_token": 3}, "pad_token is 3, but must be a string or an AddedToken"),
        ({"pad_token": None}, "pad_token is None, but must be a string"),
    ],
)
def test_what_is_no_special_token_is_refused_and_nothing_is_added(given: Any, message: str, context: Both) -> None:
    size = len(context.ours)
    with pytest.raises(ValueError, match=message):
        context.ours.add_special_tokens({"cls_token": "[NEW]", **given})
    assert len(context.ours) == size
    assert context.ours.cls_token == "[CLS]"


def test_a_saved_tokenizer_is_the_same_when_read_again(both: Both, tmp_path: Path) -> None:
    ours = both.ours
    ours.add_tokens(["bim", "bambam", AddedToken("lefty", lstrip=True)])
    ours.add_special_tokens({"additional_special_tokens": ["[NEW]"], "mask_token": "[HIDE]"})
    ours.model_max_length, ours.padding_side = 42, "left"
    for path in ours.save_pretrained(tmp_path):
        json.loads(Path(path).read_text(encoding="utf-8"))
    text = " He is very happy, UNwant\u00e9d,running bim [NEW] lefty"
    theirs = getattr(transformers, f"{type(ours).__name__}Fast").from_pretrained(tmp_path)
    again = type(ours).from_pretrained(tmp_path)
    for read in (again, theirs, type(ours).from_pretrained(str(tmp_path))):
        assert read.encode(text) == ours.encode(text)
        assert read.get_vocab() == ours.get_vocab()
        assert read.special_tokens_map == ours.special_tokens_map
        assert read.extra_special_tokens == ours.extra_special_tokens == ["[NEW]"]
        assert (read.model_max_length, read.padding_side) == (42, "left")
    assert type(ours).from_pretrained(tmp_path, model_max_length=43).model_max_length == 43


def test_the_vocabulary_is_written_one_token_a_line(both: Both, vocabulary: Path, tmp_path: Path) -> None:
    both.ours.add_tokens(["bim"])
    written = both.ours.save_vocabulary(tmp_path) + both.ours.save_vocabulary(str(tmp_path), "my")
    assert [Path(path).name for path in written] == ["vocab.txt", "my-vocab.txt"]
    for name in ("vocab.txt", "my-vocab.txt"):
        assert (tmp_path / name).read_text(encoding="utf-8") == (vocabulary / "vocab.txt").read_text(encoding="utf-8")
    assert type(both.ours).from_pretrained(tmp_path).encode(TEXT) == both.theirs.encode(TEXT)
    with pytest.raises(OSError, match="there is no such folder"):
        both.ours.save_vocabulary(tmp_path / "missing")


def test_a_pickled_tokenizer_is_the_same(both: Both) -> None:
    both.ours.add_special_tokens({"pad_token": "[BLANK]", "additional_special_tokens": ["[NEW]"]})
    both.ours.tokenize("[NEW]", split_special_tokens=True)
    both.ours.padding_side = "left"
    again = pickle.loads(pickle.dumps(both.ours))
    texts = ["who [NEW]", TEXT, ""]
    same(again.batch_encode_plus(texts, padding=True), both.ours.batch_encode_plus(texts, padding=True))
    assert repr(again) == repr(both.ours)
    assert again.tokenize(texts[0], split_special_tokens=True) == both.ours.tokenize(
        texts[0], split_special_tokens=True
    )


def test_two_tokenizers_of_one_folder_know_nothing_of_each_other(vocabulary: Path) -> None:
    one, other = (DPRContextEncoderTokenizer.from_pretrained(vocabulary) for _ in range(2))
    one.add_tokens(["bim"])
    one.padding_side, one.model_max_length = "left", 3
    assert len(other) == len(one) - 1
    assert (other.padding_side, other.model_max_length) == ("right", 512)
    assert other.tokenize("bim") != ["bim"]


def test_special_tokens_are_given_when_loading(vocabulary: Path) -> None:
    options = {"additional_special_tokens": ("<special>",)}
    ours = DPRReaderTokenizer.from_pretrained(vocabulary, **options)
    theirs = transformers.DPRReaderTokenizerFast.from_pretrained(vocabulary, extra_special_tokens=["<special>"])
    same(ours("Hey this is a <special> token"), theirs("Hey this is a <special> token"))
    assert ours.additional_special_tokens == theirs.extra_special_tokens == ["<special>"]


def test_special_tokens_in_the_files_are_read(vocabulary: Path, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes((vocabulary / "vocab.txt").read_bytes())
    config = {"additional_special_tokens": ["one more"], "mask_token": HIDDEN}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    both = load_both("DPRReaderTokenizer", tmp_path)
    assert both.ours.additional_special_tokens == both.theirs.extra_special_tokens == ["one more"]
    text = "who wrote one more  [MASK] play"
    same(both.ours(text), both.theirs(text))
    assert both.ours.get_vocab() == both.theirs.get_vocab()


def test_another_models_tokenizer_is_refused_or_read_as_what_it_is(vocabulary: Path, tmp_path: Path) -> None:
    """Mended: transformers reads any tokenizer, with a warning."""
    reader = DPRReaderTokenizer.from_pretrained(vocabulary)
    reader.save_pretrained(tmp_path)
    assert DPRContextEncoderTokenizer.from_pretrained(tmp_path).encode(TEXT, PAIR) == reader.encode(TEXT, PAIR)
    content = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    content["model"] = {"type": "WordLevel", "vocab": content["model"]["vocab"], "unk_token": "[UNK]"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="holds a WordLevel model, but DPR's tokenizers are WordPiece"):
        DPRReaderTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["random_argument", "split_special_tokens", "add_special_tokens", "get_vocab"])
def test_an_option_that_there_is_not_is_refused_when_loading(name: str, vocabulary: Path) -> None:
    """Mended: transformers keeps it, unless a method has its name."""
    with pytest.raises(TypeError, match=name):
        DPRReaderTokenizer.from_pretrained(vocabulary, **{name: True})


def test_every_class_of_transformers_has_ours_under_both_names() -> None:
    for kind in ("QuestionEncoder", "ContextEncoder", "Reader"):
        ours = getattr(runtime, f"DPR{kind}Tokenizer")
        assert ours is getattr(runtime, f"DPR{kind}TokenizerFast")
        assert ours.__name__ == getattr(transformers, f"DPR{kind}Tokenizer").__name__
