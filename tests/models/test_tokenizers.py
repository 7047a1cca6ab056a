"""The encoders' tokenizers against transformers' own, and everything that is mended on purpose."""

import copy
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from dpr_export.models import torch_interop as tensors
from dpr_export.models.tokenization.batch_encoding import BatchEncoding
from dpr_export.models.tokenization.encoder_tokenizers import (
    DPRContextEncoderTokenizer,
    DPRContextEncoderTokenizerFast,
    DPRQuestionEncoderTokenizer,
)
from dpr_export.models.tokenization.rows import truncated_lengths

NAMES = ["uncased", "cased", "vocab", "cased-vocab", "no-chinese", "tiny"]
EVERYTHING = {"return_special_tokens_mask": True, "return_offsets_mapping": True, "return_length": True}
WORKLOADS: list[dict[str, Any]] = [
    {},
    {"padding": True},
    {"padding": True, "pad_to_multiple_of": 8, "padding_side": "left"},
    {"truncation": True, "max_length": 12},
    {"max_length": 7},
    {"truncation": True, "max_length": 15, "padding": "max_length", "return_tensors": "np"},
    {"truncation": True},
    {"padding": "longest", "truncation": "longest_first", "max_length": 10},
    {"add_special_tokens": False, "truncation": True, "max_length": 9},
    {"padding": True, **EVERYTHING},
    {"return_token_type_ids": False, "return_attention_mask": False},
]


@pytest.fixture(scope="session")
def ours(folders: dict[str, Path]) -> dict[str, DPRContextEncoderTokenizer]:
    return {name: DPRContextEncoderTokenizer.from_pretrained(folder) for name, folder in folders.items()}


@pytest.fixture(scope="session")
def theirs(folders: dict[str, Path]) -> dict[str, Any]:
    """The class that follows the checkpoint's configuration in transformers 4 and 5 alike."""
    return {name: transformers.BertTokenizerFast.from_pretrained(folder) for name, folder in folders.items()}


def outcome(tokenizer: Any, *texts: Any, **options: Any) -> Any:
    """What a call returns as plain lists, or "refused"; transformers raises bare exceptions here."""
    try:
        encoding = tokenizer(*texts, **options)
    except Exception:
        return "refused"
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in encoding.items()}


@pytest.mark.parametrize("name", NAMES)
def test_ten_thousand_strings_are_encoded_as_in_transformers(
    name: str, strings: list[str], ours: Any, theirs: Any
) -> None:
    some = strings if name in ("uncased", "cased") else strings[:3000]
    expected = theirs[name](some, **EVERYTHING)
    encoded = ours[name](some, **EVERYTHING)
    assert list(encoded) == list(expected)
    for column in expected:
        assert encoded[column] == expected[column], column


@pytest.mark.parametrize(("name", "count"), [("uncased", 10_000), ("cased-vocab", 3000), ("tiny", 1500)])
def test_ten_thousand_pairs_are_cut_and_encoded_as_in_transformers(
    name: str, count: int, strings: list[str], ours: Any, theirs: Any
) -> None:
    pairs = strings[-count:], strings[-count:][::-1]
    options = {"truncation": True, "max_length": 21, **EVERYTHING}
    assert dict(ours[name](*pairs, **options)) == dict(theirs[name](*pairs, **options))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("uncased", {}),
        ("uncased", {"clean_up_tokenization_spaces": True}),
        ("cased-vocab", {"skip_special_tokens": True}),
    ],
)
def test_ten_thousand_rows_are_decoded_as_in_transformers(
    name: str, options: dict[str, bool], strings: list[str], ours: Any, theirs: Any
) -> None:
    rows = theirs[name](strings[1:], strings[:-1])["input_ids"]
    expected = theirs[name].batch_decode(rows, **options)
    assert ours[name].batch_decode(rows, **options) == expected
    assert [ours[name].decode(row, **options) for row in rows[:200]] == expected[:200]


def test_spaces_are_cleaned_up_as_in_transformers(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *". ? ! , ' n't 'm 's 've 're do ##ing".split()]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    tokenizer = DPRQuestionEncoderTokenizer.from_pretrained(tmp_path)
    tokenizer.backend_tokenizer.decoder = tokenizers.decoders.WordPiece(cleanup=False)
    tokenizer.save_pretrained(tmp_path)
    mine = DPRQuestionEncoderTokenizer.from_pretrained(tmp_path)
    reference = transformers.DPRQuestionEncoderTokenizerFast.from_pretrained(tmp_path)
    rows = [[15, one, two, 15] for one in range(17) for two in range(17)]
    for clean_up in (True, False, None):
        expected = reference.batch_decode(rows, clean_up_tokenization_spaces=clean_up)
        assert mine.batch_decode(rows, clean_up_tokenization_spaces=clean_up) == expected


@pytest.mark.parametrize("options", WORKLOADS)
@pytest.mark.parametrize("name", ["uncased", "cased-vocab"])
def test_padding_and_truncation_are_those_of_transformers(
    name: str, options: dict[str, Any], strings: list[str], ours: Any, theirs: Any
) -> None:
    some = strings[:300]
    assert outcome(ours[name], some, **options) == outcome(theirs[name], some, **options) != "refused"
    pairs = some, some[::-1]
    assert outcome(ours[name], *pairs, **options) == outcome(theirs[name], *pairs, **options) != "refused"


@pytest.mark.parametrize("options", WORKLOADS)
def test_a_single_text_or_pair_is_encoded_as_in_transformers(
    options: dict[str, Any], strings: list[str], ours: Any, theirs: Any
) -> None:
    for text, pair in zip(strings[:150], strings[20:170], strict=True):
        for texts in ((text,), (text, pair)):
            assert outcome(ours["uncased"], *texts, **options) == outcome(theirs["uncased"], *texts, **options)


@settings(max_examples=400, deadline=None)
@given(
    lengths=st.tuples(st.integers(0, 12), st.none() | st.integers(0, 12)),
    strategy=st.sampled_from(["longest_first", "only_first", "only_second", "do_not_truncate"]),
    max_length=st.integers(3, 30),
    special=st.booleans(),
    side=st.sampled_from(["right", "left"]),
)
def test_every_strategy_cuts_where_transformers_cuts(
    ours: Any, theirs: Any, lengths: Any, strategy: str, max_length: int, special: bool, side: str
) -> None:
    letters = "a b c d e f g h i j k l".split()
    texts = [[" ".join(letters[:length])] for length in lengths if length is not None]
    options = {"truncation": strategy, "max_length": max_length, "add_special_tokens": special}
    try:
        ours["tiny"].truncation_side = theirs["tiny"].truncation_side = side
        assert outcome(ours["tiny"], *texts, **options) == outcome(theirs["tiny"], *texts, **options)
    finally:
        ours["tiny"].truncation_side = theirs["tiny"].truncation_side = "right"


@settings(max_examples=300, deadline=None)
@given(text=st.text(), pair=st.text(), name=st.sampled_from(NAMES))
def test_any_text_is_encoded_as_in_transformers(ours: Any, theirs: Any, text: str, pair: str, name: str) -> None:
    assert dict(ours[name](text, pair)) == dict(theirs[name](text, pair))


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 60))
def test_longest_first_fills_the_room_and_never_cuts_the_shorter_one_more(first: int, second: int, room: int) -> None:
    kept = truncated_lengths("longest_first", first, second, room)
    assert sum(kept) == min(room, first + second)
    assert kept[0] <= first
    assert kept[1] <= second
    assert (kept[0] <= kept[1]) if first <= second else (kept[0] >= kept[1])


def test_words_already_split_are_encoded_as_in_transformers(ours: Any, theirs: Any) -> None:
    rows = [["Who", "wrote", "Hamlet?"], ["Shakespeare", "unbelievably"], []]
    for texts in ((rows[0],), (rows,), (rows, rows[::-1])):
        options = {"is_split_into_words": True, "return_offsets_mapping": True}
        assert outcome(ours["uncased"], *texts, **options) == outcome(theirs["uncased"], *texts, **options) != "refused"


def test_the_small_verbs_agree_with_transformers(ours: Any, theirs: Any) -> None:
    for name in NAMES:
        mine, reference = ours[name], theirs[name]
        for attribute in (
            *("vocab_size", "model_max_length", "padding_side", "truncation_side", "all_special_tokens", "is_fast"),
            *("cls_token", "sep_token", "pad_token", "unk_token", "mask_token", "all_special_ids", "do_lower_case"),
            *("cls_token_id", "sep_token_id", "pad_token_id", "unk_token_id", "mask_token_id", "pad_token_type_id"),
            *("special_tokens_map", "clean_up_tokenization_spaces"),
        ):
            assert getattr(mine, attribute) == getattr(reference, attribute), attribute
        assert len(mine) == len(reference)
        assert mine.get_vocab() == reference.get_vocab()
        assert list(mine.model_input_names) == reference.model_input_names
        text, special = "What is love, Haddaway?", {"add_special_tokens": True}
        assert mine.tokenize(text) == reference.tokenize(text)
        assert mine.tokenize(text, text, **special) == reference.tokenize(text, text, **special)
        assert mine.encode(text, max_length=5, truncation=True) == reference.encode(text, max_length=5, truncation=True)
        assert mine.convert_tokens_to_ids(["[SEP]", "q", "nonsense!"]) == reference.convert_tokens_to_ids(
            ["[SEP]", "q", "nonsense!"]
        )
        assert mine.convert_tokens_to_ids("[SEP]") == reference.convert_tokens_to_ids("[SEP]")
        ids = [*mine.encode(text), 10**6]
        assert mine.convert_ids_to_tokens(ids) == reference.convert_ids_to_tokens(ids)
        assert mine.convert_ids_to_tokens(ids, skip_special_tokens=True) == reference.convert_ids_to_tokens(
            ids, skip_special_tokens=True
        )
        assert mine.convert_ids_to_tokens(3) == reference.convert_ids_to_tokens(3)
        assert mine.num_special_tokens_to_add(pair=True) == reference.num_special_tokens_to_add(pair=True)


def test_ids_are_decoded_from_integers_arrays_and_tensors(ours: Any, theirs: Any) -> None:
    rows = ours["uncased"](["who wrote hamlet", "don't know it"])["input_ids"]
    for ids in (rows[0], rows[0][1], np.array(rows[0]), torch.tensor(rows[0]), rows, np.array([rows[0]]), []):
        assert ours["uncased"].decode(ids) == theirs["uncased"].decode(ids)
    assert ours["uncased"].batch_decode(np.array([rows[0]])) == theirs["uncased"].batch_decode(np.array([rows[0]]))
    assert ours["uncased"].batch_decode([]) == []


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": "max_length", "max_length": 9},
        {"padding": False},
        {"pad_to_multiple_of": 4, "return_tensors": "np"},
        {"padding_side": "left"},
    ],
)
def test_rows_encoded_before_are_padded_as_in_transformers(options: dict[str, Any], ours: Any, theirs: Any) -> None:
    batch = dict(ours["uncased"](["who", "who wrote hamlet", "who wrote"]))
    one = dict(ours["uncased"]("who wrote"))
    for encoded in (batch, one, [one, dict(ours["uncased"]("hamlet"))], {"input_ids": batch["input_ids"]}):
        given = copy.deepcopy(encoded)
        assert outcome(ours["uncased"].pad, given, **options) == outcome(
            theirs["uncased"].pad, copy.deepcopy(encoded), **options
        )
        assert given == encoded


def test_padding_gives_back_what_it_was_given(ours: Any) -> None:
    rows = ours["uncased"](["who", "who wrote hamlet"])["input_ids"]
    for make, kind in ((np.array, np.ndarray), (torch.tensor, torch.Tensor)):
        assert isinstance(ours["uncased"].pad({"input_ids": [make(row) for row in rows]}).input_ids, kind)
        assert isinstance(ours["uncased"].pad([{"input_ids": make(row)} for row in rows]).input_ids, kind)


def test_lower_case_follows_the_checkpoint(folders: dict[str, Path]) -> None:
    """Mended: the DPR classes of transformers 5 that are not Fast lower-case a cased checkpoint too."""
    cased = DPRQuestionEncoderTokenizer.from_pretrained(folders["cased"])
    assert cased.tokenize("Hamlet") == ["[UNK]"]  # the vocabulary has lower case only
    assert DPRQuestionEncoderTokenizer.from_pretrained(folders["uncased"]).tokenize("Hamlet") == ["hamlet"]
    override = DPRQuestionEncoderTokenizer.from_pretrained(folders["cased"], do_lower_case=True)
    assert override.tokenize("Hamlet") == ["hamlet"]


def test_an_unknown_keyword_is_refused(ours: Any, folders: dict[str, Path]) -> None:
    """Mended: transformers 5 takes and forgets it."""
    with pytest.raises(TypeError, match="max_lenght"):
        ours["uncased"]("who", max_lenght=3)
    with pytest.raises(TypeError, match="pad_to_max_length"):
        ours["uncased"].encode_plus("who", pad_to_max_length=True)
    with pytest.raises(TypeError, match="do_lowercase"):
        DPRQuestionEncoderTokenizer.from_pretrained(folders["cased"], do_lowercase=True)


@pytest.mark.parametrize(("max_length", "pair"), [(0, None), (1, None), (2, "hamlet")])
def test_a_max_length_below_the_special_tokens_is_refused(ours: Any, max_length: int, pair: str | None) -> None:
    """Mended: transformers then cuts nothing at all."""
    with pytest.raises(ValueError, match=f"max_length is {max_length}, but the special tokens of a row alone are"):
        ours["uncased"]("who wrote hamlet", pair, truncation=True, max_length=max_length)


def test_a_max_length_of_just_the_special_tokens_leaves_them_alone(ours: Any) -> None:
    assert ours["uncased"]("who wrote", truncation=True, max_length=2)["input_ids"] == [101, 102]
    assert ours["uncased"]("who", "wrote", truncation=True, max_length=3)["input_ids"] == [101, 102, 102]
    options = {"add_special_tokens": False, "truncation": True, "max_length": 0}
    assert ours["uncased"]("who", **options)["input_ids"] == []


def test_no_texts_give_no_rows(ours: Any) -> None:
    """Mended: an IndexError in transformers."""
    assert dict(ours["uncased"]([])) == {"input_ids": [], "token_type_ids": [], "attention_mask": []}
    assert ours["uncased"]([], [], padding=True, return_tensors="np").input_ids.shape == (0, 0)


def test_a_lone_surrogate_is_refused_by_name_and_position(ours: Any) -> None:
    """Mended: transformers says that the input must be a string."""
    with pytest.raises(ValueError, match=r"text holds half a surrogate pair, '\\udc9c', at position 3"):
        ours["uncased"]("abc\udc9c")
    with pytest.raises(ValueError, match=r"text\[1\] holds half a surrogate pair, '\\ud800', at position 0"):
        ours["uncased"](["fine", "\ud800"])
    with pytest.raises(ValueError, match=r"text_pair\[0\] holds half a surrogate"):
        ours["uncased"](["fine"], ["é\ud83d"])
    with pytest.raises(ValueError, match=r"text\[1\]\[0\] holds half a surrogate"):
        ours["uncased"]([["fine"], ["\ud83d"]], is_split_into_words=True)


def test_a_mask_that_is_not_wanted_is_left_out_of_padding(ours: Any) -> None:
    """Mended: transformers leaves a given mask in, unpadded."""
    batch = ours["uncased"](["who", "who wrote hamlet"])
    assert "attention_mask" not in ours["uncased"].pad(batch, return_attention_mask=False)


@pytest.mark.parametrize(
    ("texts", "options", "error", "message"),
    [
        ((5,), {}, ValueError, "text is of type int, but must be a string"),
        ((None,), {}, ValueError, "text is of type NoneType"),
        ((["a", None],), {}, ValueError, r"text\[1\] is of type NoneType"),
        (([("a", "b", "c")],), {}, ValueError, r"text\[0\] is of type tuple"),
        ((["a"], "b"), {}, TypeError, "text_pair must be a list of the same length"),
        ((["a"], ["b", "c"]), {}, ValueError, "text has 1 entries, but text_pair has 2"),
        (("a", ["b"]), {}, ValueError, "text_pair is of type list"),
        (("a",), {"is_split_into_words": True}, ValueError, "text is of type str, but is_split_into_words needs"),
        (("a",), {"padding": "max"}, ValueError, "padding is 'max', but must be"),
        (("a",), {"padding": True, "padding_side": "middle"}, ValueError, "padding_side is 'middle'"),
        (("a",), {"truncation": "first"}, ValueError, "truncation is 'first', but must be"),
        (("a",), {"truncation": True, "max_length": -1}, ValueError, "max_length is -1, but must be"),
        (("a",), {"truncation": True, "max_length": 2.5}, ValueError, "max_length is 2.5, but must be"),
        (("a",), {"return_tensors": "tf"}, ValueError, "return_tensors is 'tf'.*the models take NumPy arrays"),
        (("a",), {"stride": -1}, ValueError, "stride is -1, but must be a whole number from 0"),
        ((["a", "a b"],), {"return_tensors": "np"}, ValueError, "input_ids has rows of 3 to 4 tokens.*padding=True"),
        ((["a", "a b"],), {"return_tensors": "pt"}, ValueError, "padding=True"),
        (("a b c",), {"truncation": "only_second", "max_length": 3}, ValueError, "no second sequence"),
        (("a b", "c d e f"), {"truncation": "only_first", "max_length": 4}, ValueError, "has only 2"),
        (
            ("a",),
            {"truncation": True, "padding": True, "max_length": 6, "pad_to_multiple_of": 4},
            ValueError,
            "multiple of 4",
        ),
    ],
)
def test_what_cannot_be_encoded_is_refused_by_name(
    ours: Any, texts: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ours["uncased"](*texts, **options)


def test_what_cannot_be_padded_is_refused_by_name(ours: Any) -> None:
    with pytest.raises(ValueError, match="must have input_ids"):
        ours["uncased"].pad({"attention_mask": [[1]]})
    with pytest.raises(ValueError, match="different numbers of rows"):
        ours["uncased"].pad({"input_ids": [[1], [2]], "attention_mask": [[1]]})


def test_many_threads_share_one_tokenizer(strings: list[str], ours: Any) -> None:
    some = [text for text in strings if text][:64]
    jobs = [
        {"truncation": True, "max_length": 4 + number % 9, "padding": ("max_length", True, False)[number % 3]}
        for number in range(60)
    ]

    def run(options: dict[str, Any]) -> Any:
        return dict(ours["uncased"](some, some[::-1], **options))

    expected = [run(options) for options in jobs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, jobs)) == expected
    assert ours["uncased"].backend_tokenizer.truncation is None
    assert ours["uncased"].backend_tokenizer.padding is None


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_tokenizer_is_read_by_us_and_by_transformers(
    name: str, strings: list[str], ours: Any, tmp_path: Path
) -> None:
    saved = ours[name].save_pretrained(tmp_path / "new")
    assert sorted(Path(path).name for path in saved) == ["tokenizer.json", "tokenizer_config.json"]
    expected = dict(ours[name](strings[:500]))
    again = DPRContextEncoderTokenizer.from_pretrained(tmp_path / "new")
    assert dict(again(strings[:500])) == expected
    assert again.save_pretrained(tmp_path / "again")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "new" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    reference = transformers.DPRContextEncoderTokenizerFast.from_pretrained(tmp_path / "new")
    assert dict(reference(strings[:500])) == expected
    assert reference.model_max_length == ours[name].model_max_length


@pytest.mark.parametrize("with_json", [False, True])
def test_special_and_added_tokens_are_read_as_in_transformers(
    with_json: bool, strings: list[str], tmp_path: Path
) -> None:
    words = ["<pad>", "<unk>", "<s>", "</s>", "<mask>", "who", "wrote", "hamlet", "[SEP]"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    named = {"cls_token": "<s>", "sep_token": {"content": "</s>", "lstrip": True, "normalized": False}}
    named |= {"unk_token": "<unk>", "pad_token": {"__type": "AddedToken", "content": "<pad>"}, "mask_token": "<mask>"}
    config = {"max_len": 40, "additional_special_tokens": ["<q>"], "clean_up_tokenization_spaces": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(named), encoding="utf-8")
    (tmp_path / "added_tokens.json").write_text(json.dumps({"Yorick": 9, "<q>": 10}), encoding="utf-8")
    mine = DPRContextEncoderTokenizer.from_pretrained(tmp_path)
    if with_json:
        mine.save_pretrained(tmp_path)
        for file in ("vocab.txt", "special_tokens_map.json", "added_tokens.json"):
            (tmp_path / file).unlink()
        mine = DPRContextEncoderTokenizer.from_pretrained(tmp_path)
    reference = transformers.DPRContextEncoderTokenizerFast.from_pretrained(tmp_path)
    texts = ["who  </s> wrote Hamlet<q>, Yorick? <s>[SEP]", "<pad> Yoricks", *strings[:500]]
    assert dict(mine(texts, **EVERYTHING)) == dict(reference(texts, **EVERYTHING))
    assert mine.get_vocab() == reference.get_vocab()
    assert mine.all_special_tokens == reference.all_special_tokens
    assert mine.batch_decode(mine(texts)["input_ids"], skip_special_tokens=True) == reference.batch_decode(
        reference(texts)["input_ids"], skip_special_tokens=True
    )
    assert (mine.model_max_length, mine.cls_token_id, mine.pad_token_id) == (40, 2, 0)


def test_tokens_listed_by_id_win_over_the_special_tokens_map(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes((folders["uncased"] / "vocab.txt").read_bytes())
    listed = {"30522": {"content": "Yorick", "special": False, "normalized": False}, "0": {"content": "[PAD]"}}
    config = {"added_tokens_decoder": listed, "model_max_length": None}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"cls_token": "[MASK]"}), encoding="utf-8")
    mine = DPRContextEncoderTokenizer.from_pretrained(tmp_path)
    reference = transformers.DPRContextEncoderTokenizerFast.from_pretrained(tmp_path)
    assert dict(mine("alas, poor Yorick! yorick [PAD]")) == dict(reference("alas, poor Yorick! yorick [PAD]"))
    assert mine.convert_tokens_to_ids("Yorick") == 30522


def test_a_folder_without_a_tokenizer_names_the_files_looked_for(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"holds no tokenizer: looked for tokenizer\.json and vocab\.txt"):
        DPRQuestionEncoderTokenizer.from_pretrained(tmp_path)
    with pytest.raises(OSError, match=r"there is no folder .*missing"):
        DPRQuestionEncoderTokenizer.from_pretrained(tmp_path / "missing")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer_config.json", "{", "tokenizer_config.json is not JSON"),
        ("tokenizer_config.json", "[1]", "holds a list, but must hold an object"),
        ("tokenizer_config.json", '{"do_lower_case": "no"}', "do_lower_case is 'no', but must be true or false"),
        ("tokenizer_config.json", '{"padding_side": "up"}', "padding_side is 'up', but must be"),
        ("tokenizer_config.json", '{"cls_token": 3}', "name the token 3"),
        ("tokenizer.json", "{}", "tokenizer.json cannot be read as a tokenizer"),
        ("vocab.txt", "who\nwrote\n", r"has no '\[UNK\]', which unknown words become"),
    ],
)
def test_a_file_that_cannot_be_understood_is_named(file: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", encoding="utf-8")
    (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        DPRQuestionEncoderTokenizer.from_pretrained(tmp_path)


def test_a_tokenizer_with_another_model_is_refused(tmp_path: Path) -> None:
    tokenizers.Tokenizer(tokenizers.models.WordLevel()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="holds a WordLevel model, but DPR's tokenizers are WordPiece, BPE, Unigram"):
        DPRQuestionEncoderTokenizer.from_pretrained(tmp_path)


def test_a_vocabulary_file_makes_a_tokenizer_by_itself(
    folders: dict[str, Path], strings: list[str], theirs: Any
) -> None:
    backend = DPRQuestionEncoderTokenizer.from_pretrained(folders["vocab"]).backend_tokenizer
    rows = [encoding.ids for encoding in backend.encode_batch(strings[:500])]
    assert rows == theirs["vocab"](strings[:500])["input_ids"]
    cased = DPRQuestionEncoderTokenizer.from_pretrained(folders["vocab"], do_lower_case=False)
    assert cased.backend_tokenizer.encode("Hamlet hamlet").tokens == ["[CLS]", "[UNK]", "hamlet", "[SEP]"]


def test_a_tokenizer_and_an_encoding_can_be_pickled_and_copied(ours: Any) -> None:
    encoding = ours["uncased"](["who wrote hamlet"], return_tensors="np")
    again = pickle.loads(pickle.dumps(ours["uncased"]))(["who wrote hamlet"], return_tensors="np")
    for same in (again, pickle.loads(pickle.dumps(encoding)), copy.deepcopy(encoding), copy.copy(encoding)):
        assert isinstance(same, BatchEncoding)
        assert list(same) == list(encoding)
        assert np.array_equal(same.input_ids, encoding.input_ids)


def test_an_encoding_reads_as_a_dictionary_and_by_attribute(ours: Any) -> None:
    encoding = ours["uncased"](["who wrote hamlet", "who"], padding=True, return_tensors="np")
    assert encoding.input_ids is encoding["input_ids"]
    assert list({**encoding}) == list(encoding.keys()) == ["input_ids", "token_type_ids", "attention_mask"]
    assert {name: value.dtype for name, value in encoding.items()} == dict.fromkeys(encoding, np.dtype(np.int64))
    assert "input_ids" in encoding
    assert "labels" not in encoding
    encoding["labels"] = [1, 0]
    assert encoding.labels == [1, 0]
    given = BatchEncoding(dict(encoding))
    assert given[:1]["input_ids"].shape == (1, 5)
    with pytest.raises(KeyError, match="take a column first"):
        given[0]
    with pytest.raises(AttributeError, match="no column 'logits'"):
        _ = encoding.logits


def test_moving_an_encoding_moves_tensors_alone(ours: Any) -> None:
    encoding = ours["uncased"]("who", return_tensors="pt")
    assert encoding.to("meta") is encoding
    assert encoding.input_ids.device.type == "meta"
    arrays = ours["uncased"]("who", return_tensors="np")
    before = arrays.input_ids
    assert arrays.to("cpu").input_ids is before


def test_torch_tensors_hold_what_transformers_returns(ours: Any, theirs: Any) -> None:
    options = {"padding": True, "return_tensors": "pt"}
    encoding, expected = (
        tokenizer(["who", "who wrote"], **options) for tokenizer in (ours["uncased"], theirs["uncased"])
    )
    for name, tensor in expected.items():
        assert torch.equal(encoding[name], tensor)
        assert encoding[name].dtype == tensor.dtype


def test_tensors_become_arrays_and_arrays_what_the_example_is() -> None:
    assert tensors.to_numpy(torch.ones(2, dtype=torch.bfloat16, requires_grad=True)).dtype == np.float32
    assert tensors.is_torch(tensors.convert_like(np.zeros(2), torch.ones(1)))
    assert isinstance(tensors.convert_like(np.zeros(2), np.ones(1)), np.ndarray)
    frozen = np.arange(4)[::2]
    frozen.flags.writeable = False
    assert tensors.to_torch(frozen).tolist() == [0, 2]


def test_tensors_asked_for_without_torch_end_in_what_to_install(ours: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert not tensors.is_torch(np.zeros(1))
    with pytest.raises(ImportError, match="pip install"):
        ours["uncased"]("who", return_tensors="pt")


def test_tokenizing_brings_neither_torch_nor_transformers(folders: dict[str, Path]) -> None:
    program = (
        "import sys; from dpr_export.models.tokenization.encoder_tokenizers import DPRQuestionEncoderTokenizer as T;"
        f"t = T.from_pretrained({str(folders['uncased'])!r}); t.pad(t(['who', 'a b'], return_tensors=None)).to('cpu');"
        "t('who', return_tensors='np'); print([m for m in ('torch', 'transformers', 'onnx') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"


def test_fast_is_another_name_for_the_same_class() -> None:
    assert DPRContextEncoderTokenizerFast is DPRContextEncoderTokenizer


def test_columns_that_are_no_rows_are_left_as_they_are_by_padding(folders: dict[str, Path]) -> None:
    ours = DPRQuestionEncoderTokenizer.from_pretrained(folders["uncased"])
    theirs = transformers.DPRQuestionEncoderTokenizerFast.from_pretrained(folders["uncased"])
    for kind in (None, "np", "pt"):
        padded = []
        for tokenizer in (ours, theirs):
            rows = [{**tokenizer(text), "label": label} for text, label in (("who", 1), ("who wrote it", 0))]
            padded.append(tokenizer.pad(rows, return_tensors=kind))
        assert [np.asarray(padded[0][name]).tolist() for name in padded[0]] == [
            np.asarray(padded[1][name]).tolist() for name in padded[0]
        ]
        assert set(padded[0]) == set(padded[1])
    collated = transformers.DataCollatorWithPadding(ours)([{**ours("who"), "label": 1}, {**ours("it is"), "label": 0}])
    assert collated["labels"].tolist() == [1, 0]
