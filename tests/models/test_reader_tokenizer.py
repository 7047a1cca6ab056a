"""The reader's tokenizer against transformers' own, everything mended on purpose, and rows that know their text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from dpr_export.models.outputs import DPRReaderOutput
from dpr_export.models.tokenization.reader_tokenizer import DPRReaderTokenizer, DPRReaderTokenizerFast, NoRoomError

NAMES = ["uncased", "cased-vocab", "tiny"]
WORKLOADS: list[dict[str, Any]] = [
    {},
    {"padding": True},
    {"truncation": True, "max_length": 17, "padding": "longest", "return_tensors": "np"},
    {"truncation": "only_second", "max_length": 30},
    {"padding": "max_length", "max_length": 40},
    {"padding": "max_length", "truncation": "longest_first"},
    {"padding": "longest", "max_length": 5},
    {"truncation": True},
]
FOUR = "what is love", "had a way", "a song by him"  # 3, 3 and 4 tokens


@pytest.fixture(scope="session")
def ours(folders: dict[str, Path]) -> dict[str, DPRReaderTokenizer]:
    return {name: DPRReaderTokenizer.from_pretrained(folders[name]) for name in NAMES}


@pytest.fixture(scope="session")
def theirs(folders: dict[str, Path]) -> dict[str, Any]:
    return {name: transformers.DPRReaderTokenizerFast.from_pretrained(folders[name]) for name in NAMES}


def lists(encoding: Any) -> dict[str, Any]:
    return {name: value if isinstance(value, list) else value.tolist() for name, value in encoding.items()}


@pytest.mark.parametrize("name", NAMES)
def test_ten_thousand_strings_in_passages_are_encoded_as_in_transformers(
    name: str, strings: list[str], ours: Any, theirs: Any
) -> None:
    passages = strings[:3400], strings[3300:6700], strings[6600:10_000]
    assert lists(ours[name](*passages)) == lists(theirs[name](*passages))


@pytest.mark.parametrize("options", WORKLOADS)
@pytest.mark.parametrize("name", NAMES)
def test_padding_and_truncation_are_those_of_transformers(
    name: str, options: dict[str, Any], strings: list[str], ours: Any, theirs: Any
) -> None:
    for start in range(0, 3000, 100):
        passages = strings[start], strings[start : start + 20], strings[start + 20 : start + 40]
        encoding = ours[name](*passages, **options)
        assert list(encoding) == ["input_ids", "attention_mask"]
        assert lists(encoding) == lists(theirs[name](*passages, **options))


@settings(max_examples=200, deadline=None)
@given(question=st.text(), title=st.text(), text=st.text(), name=st.sampled_from(NAMES))
def test_any_passage_is_encoded_as_in_transformers(
    ours: Any, theirs: Any, question: str, title: str, text: str, name: str
) -> None:
    assert lists(ours[name](question, title, text)) == lists(theirs[name](question, title, text))


@pytest.mark.parametrize("max_length", range(16))
def test_a_row_is_cut_at_any_place_as_in_transformers(max_length: int, ours: Any, theirs: Any) -> None:
    options = {"truncation": True, "max_length": max_length}
    encoding = ours["uncased"](*FOUR, **options)
    assert lists(encoding) == lists(theirs["uncased"](*FOUR, **options))
    assert len(encoding.input_ids[0]) == min(max_length, 13)


def test_a_row_is_question_title_and_text_without_a_closing_sep(ours: Any) -> None:
    tokens = ours["uncased"].convert_ids_to_tokens(ours["uncased"](*FOUR).input_ids[0])
    assert " ".join(tokens) == "[CLS] what is love [SEP] had a way [SEP] a song by him"


def test_a_question_alone_or_with_one_string_is_an_ordinary_row(strings: list[str], ours: Any, theirs: Any) -> None:
    some = strings[:200]
    mine, reference = ours["uncased"], theirs["uncased"]
    for options in ({}, {"padding": True}, {"truncation": True, "max_length": 9, "return_attention_mask": False}):
        assert lists(mine(some, **options)) == lists(reference(some, **options))
        assert lists(mine(some, titles=some[::-1], **options)) == lists(reference(some, titles=some[::-1], **options))
        assert lists(mine(some, texts=some[::-1], **options)) == lists(reference(some, texts=some[::-1], **options))
    assert lists(mine("who")) == lists(reference("who"))
    assert lists(mine("who", "title")) == lists(reference("who", "title"))


def test_a_question_is_repeated_for_every_passage_and_a_list_is_not(ours: Any, theirs: Any) -> None:
    passages = ["Hamlet", "Macbeth"], ["a play", "another"]
    assert lists(ours["uncased"]("who", *passages)) == lists(theirs["uncased"]("who", *passages))
    assert lists(ours["uncased"](["who", "why"], *passages)) == lists(theirs["uncased"](["who", "why"], *passages))
    with pytest.raises(ValueError, match="questions has 1 entries, but there are 2 passages"):
        ours["uncased"](["who"], *passages)


def test_a_literal_padding_token_is_masked(ours: Any, theirs: Any) -> None:
    passages = "who [PAD]", "a", "b [PAD] c"
    encoding = ours["uncased"](*passages, padding="max_length", max_length=12)
    assert lists(encoding) == lists(theirs["uncased"](*passages, padding="max_length", max_length=12))
    assert encoding.attention_mask[0] == [1, 1, 0, 1, 1, 1, 1, 0, 1, 0, 0, 0]


def test_titles_and_texts_of_different_length_are_a_value_error(ours: Any) -> None:
    """Mended: transformers' Fast class asserts."""
    with pytest.raises(ValueError, match="titles has 2 entries, but texts has 1"):
        ours["uncased"]("who", ["a", "b"], ["c"])
    with pytest.raises(ValueError, match="titles has 1 entries, but texts has 2"):
        ours["uncased"].encode_passages("who", "a", ["c", "d"], max_length=20)


def test_do_not_truncate_does_not_cut(ours: Any) -> None:
    """Mended: transformers cuts for every strategy's name."""
    for truncation in (False, None, "do_not_truncate"):
        assert len(ours["uncased"](*FOUR, truncation=truncation, max_length=5).input_ids[0]) == 13


def test_an_unknown_strategy_is_refused(ours: Any) -> None:
    """Mended: transformers cuts for any name."""
    with pytest.raises(ValueError, match="truncation is 'only_text', but must be"):
        ours["uncased"](*FOUR, truncation="only_text", max_length=5)


def test_a_mask_that_is_not_wanted_is_left_out(ours: Any) -> None:
    """Mended: transformers makes it again while padding."""
    assert list(ours["uncased"](*FOUR, return_attention_mask=False, padding=True)) == ["input_ids"]


@pytest.mark.parametrize("return_tensors", ["np", "pt"])
def test_ragged_rows_asked_for_as_arrays_are_refused(return_tensors: str, ours: Any) -> None:
    """Mended for "np": transformers makes an array of objects."""
    with pytest.raises(ValueError, match=r"input_ids has rows of 6 to 7 tokens.*padding=True"):
        ours["uncased"]("who", ["a", "b"], ["c", "d e"], return_tensors=return_tensors)


def test_no_passages_are_refused(ours: Any) -> None:
    with pytest.raises(ValueError, match="at least one passage is needed"):
        ours["uncased"]("who", [], [])
    with pytest.raises(ValueError, match="at least one passage is needed"):
        ours["uncased"].encode_passages([], [], [], max_length=20)


def test_a_negative_max_length_is_refused(ours: Any) -> None:
    """Mended: transformers cuts tokens off the end."""
    with pytest.raises(ValueError, match="max_length is -1, but must be a whole number from 0"):
        ours["uncased"](*FOUR, truncation=True, max_length=-1)


def test_an_unknown_keyword_is_refused(ours: Any) -> None:
    """Mended: transformers forgets it where there are three strings."""
    with pytest.raises(TypeError, match="return_token_type_ids"):
        ours["uncased"](*FOUR, return_token_type_ids=True)


@pytest.mark.parametrize(
    ("passages", "error", "message"),
    [
        (("who\ud800", ["a"], ["b"]), ValueError, r"questions holds half a surrogate pair, '\\ud800', at position 3"),
        ((["who", "\udfff"], ["a", "b"], ["c", "d"]), ValueError, r"questions\[1\] holds half"),
        (("who", ["a", "\udfff"], ["b", "c"]), ValueError, r"titles\[1\] holds half a surrogate pair"),
        (("who", ["a"], ["é\udfff"]), ValueError, r"texts\[0\] holds half a surrogate pair, '\\udfff', at position 1"),
        ((["who", "\udfff"],), ValueError, r"questions\[1\] holds half"),
        (("who", None, "\udfff"), ValueError, "texts holds half"),
        (("who", ["a", None], ["b", "c"]), ValueError, r"titles\[1\] is of type NoneType, but must be a string"),
        (("who", ["a"]), TypeError, "questions and titles must both be strings, or both be lists"),
        (((["who"], None, "a")), TypeError, "questions and texts must both"),
    ],
)
def test_what_is_no_text_is_refused_by_name(passages: Any, error: type[Exception], message: str, ours: Any) -> None:
    with pytest.raises(error, match=message):
        ours["uncased"](*passages)


def test_tensors_hold_what_transformers_returns(ours: Any, theirs: Any) -> None:
    encoding = ours["uncased"](*FOUR, return_tensors="pt")
    expected = theirs["uncased"](*FOUR, return_tensors="pt")
    for name, tensor in expected.items():
        assert torch.equal(encoding[name], tensor)


def test_rows_of_passages_are_what_the_call_makes(strings: list[str], ours: Any) -> None:
    for start in range(0, 4000, 200):
        passages = strings[start][:200], strings[start : start + 30], strings[start + 30 : start + 60]
        rows = ours["uncased"].encode_passages(*passages, max_length=6000)
        assert [row.input_ids for row in rows] == ours["uncased"](*passages).input_ids
        assert [row.passage for row in rows] == list(range(30))
        assert not any(row.truncated for row in rows)


def test_every_token_of_the_text_knows_its_characters(strings: list[str], ours: Any) -> None:
    texts = [text for text in strings[:2000] if len(text) < 200]
    for text, row in zip(texts, ours["uncased"].encode_passages("who", [""] * len(texts), texts, 800), strict=True):
        assert row.offsets.shape == (len(row.input_ids) - row.text_start, 2)
        assert row.offsets.dtype == np.int64
        encoded = ours["uncased"].backend_tokenizer.encode(text, add_special_tokens=False)
        assert [tuple(pair) for pair in row.offsets.tolist()] == encoded.offsets
        assert ((row.offsets >= 0) & (row.offsets <= len(text))).all()


def test_a_token_s_characters_are_those_of_the_text_as_given(ours: Any) -> None:
    text = "😀 Émile  DON'T e\u0301té 漢字 [SEP] end"
    (row,) = ours["uncased"].encode_passages("who", "t", text, max_length=60)
    pieces = [text[start:end] for start, end in row.offsets]
    assert [pieces[index] for index in (1, 2, 3, 4)] == ["Émile", "DON", "'", "T"]
    assert "[SEP]" in pieces
    assert pieces[-1] == "end"


def test_the_text_s_place_is_known_where_a_question_holds_separators(ours: Any) -> None:
    tokenizer = ours["uncased"]
    (row,) = tokenizer.encode_passages("who [SEP] [SEP] wrote", "ham [SEP] let", "a play", max_length=60)
    assert tokenizer.convert_ids_to_tokens(row.input_ids[row.text_start :]) == ["a", "play"]


def test_an_empty_text_is_one_row_without_text_tokens(ours: Any) -> None:
    for stride in (None, 2):
        (row,) = ours["uncased"].encode_passages("who", "title", "", max_length=10, stride=stride)
        assert row.text_start == len(row.input_ids) == 5
        assert row.offsets.shape == (0, 2)
        assert not row.truncated


@settings(max_examples=200, deadline=None)
@given(length=st.integers(0, 60), room=st.integers(1, 30), overlap=st.integers(0, 29))
def test_windows_cover_a_text_with_the_overlap_asked_for(ours: Any, length: int, room: int, overlap: int) -> None:
    overlap = min(overlap, room - 1)
    text = " ".join(chr(ord("a") + number % 26) for number in range(length))
    rows = ours["tiny"].encode_passages("q", "t", text, max_length=5 + room, stride=overlap)
    whole = ours["tiny"].encode_passages("q", "t", text, max_length=100)[0]
    seen = 0
    for number, row in enumerate(rows):
        start = seen - overlap if number else 0
        end = start + len(row.input_ids) - row.text_start
        assert row.input_ids == whole.input_ids[:5] + whole.input_ids[5 + start : 5 + end]
        assert row.offsets.tolist() == whole.offsets[start:end].tolist()
        assert len(row.input_ids) <= 5 + room
        assert not row.truncated
        assert end > seen or length == 0
        seen = end
    assert seen == length
    assert len(rows) == (1 if length <= room else 1 + -(-(length - room) // (room - overlap)))


def test_a_text_that_is_too_long_is_cut_and_says_so(ours: Any) -> None:
    rows = ours["uncased"].encode_passages(FOUR[0], ["a"] * 2, [FOUR[2], "a song"], max_length=9)
    assert [len(row.input_ids) for row in rows] == [9, 9]
    assert [row.truncated for row in rows] == [True, False]
    assert rows[0].input_ids == rows[1].input_ids
    assert rows[0].offsets.tolist() == [[0, 1], [2, 6]]


@settings(deadline=None)
@given(question=st.integers(0, 12), title=st.integers(0, 20), text=st.integers(0, 20), limit=st.integers(1, 24))
def test_a_title_that_leaves_no_room_is_cut_as_longest_first_cuts_a_pair(
    ours: Any, question: int, title: int, text: int, limit: int
) -> None:
    """Else the row is transformers', truncated at its end."""
    tokenizer = ours["tiny"]
    strings = ["a " * question, "b " * title, "c " * text]
    room = limit - question - 3
    if room < 1:
        with pytest.raises(NoRoomError, match=f"passage 0 has {question} tokens of question.*max_length, {limit}"):
            tokenizer.encode_passages(*strings, max_length=limit)
        return
    (row,) = tokenizer.encode_passages(*strings, max_length=limit)
    pair = tokenizer(strings[1], strings[2], truncation=True, max_length=room, add_special_tokens=False)["input_ids"]
    if room == 1 and text:
        pair = tokenizer("c", add_special_tokens=False)["input_ids"]  # the text is not left empty
    (cut,) = tokenizer(*strings, truncation=True, max_length=limit)["input_ids"]
    if title + min(text, 1) <= room:
        assert row.input_ids == cut
    else:
        assert len(row.input_ids) == limit
        assert [number for number in row.input_ids[question + 2 :] if number != tokenizer.sep_token_id] == pair
    assert row.truncated == (title + text > room)
    assert row.text_start == len(row.input_ids) - len(row.offsets)
    assert len(row.offsets) >= min(text, 1)


def test_a_question_that_leaves_no_room_is_refused(ours: Any) -> None:
    message = "passage 1 has 3 tokens of question, which with 3 special tokens leave no room for its.*max_length, 6"
    with pytest.raises(NoRoomError, match=message):
        ours["uncased"].encode_passages(["love", FOUR[0]], ["a", ""], ["b", "c"], max_length=6)
    with pytest.raises(ValueError, match="600 tokens of question"):
        ours["uncased"].encode_passages("love " * 600, "a", "b", max_length=512)


def test_a_stride_that_leaves_nothing_new_is_refused(ours: Any) -> None:
    with pytest.raises(ValueError, match="stride is 3, but a row of passage 0 has room for 2 tokens"):
        ours["uncased"].encode_passages(*FOUR, max_length=11, stride=3)
    with pytest.raises(ValueError, match="stride is -1, but must be"):
        ours["uncased"].encode_passages(*FOUR, max_length=11, stride=-1)


def test_spans_are_decoded_as_in_transformers(ours: Any, theirs: Any) -> None:
    passages = "who wrote it", ["Hamlet", "Macbeth"], ["Shakespeare wrote it, didn't he?", "nobody knows"]
    encoding = ours["uncased"](*passages, padding=True, return_tensors="np")
    chance = np.random.default_rng(0)
    output = DPRReaderOutput(*chance.standard_normal((2, *encoding.input_ids.shape)), chance.standard_normal(2))
    for options in ({}, {"num_spans": 3, "max_answer_length": 2, "num_spans_per_passage": 2}):
        spans = ours["uncased"].decode_best_spans(encoding, output, **options)
        expected = theirs["uncased"].decode_best_spans(
            {"input_ids": encoding.input_ids.tolist()}, output.to_tuple(), **options
        )
        assert [tuple(span) for span in spans] == [tuple(span) for span in expected]


def test_fast_is_another_name_for_the_same_class() -> None:
    assert DPRReaderTokenizerFast is DPRReaderTokenizer
