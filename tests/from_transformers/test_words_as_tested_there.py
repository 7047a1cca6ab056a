"""What transformers' own tests ask of an encoded batch: words, characters, and the rows of what was cut off."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpr_export.models.tokenization.batch_encoding import BatchEncoding
from dpr_export.models.tokenization.rows import truncated_lengths
from tests.from_transformers.conftest import Both, load_both
from tests.from_transformers.test_tokenizers_as_tested_there import PAIR, TEXT, TEXTS, same

BY_TOKEN = ("token_to_sequence", "token_to_word", "token_to_chars")
BY_WORD = ("word_to_tokens", "word_to_chars")
BY_CHARACTER = ("char_to_token", "char_to_word")
OPTIONS: list[dict[str, Any]] = [
    {},
    {"add_special_tokens": False},
    {"padding": "max_length", "max_length": 60, "padding_side": "left"},
    {"truncation": True, "max_length": 9},
]


def row_knowledge(encoding: Any, row: int) -> list[Any]:
    """Everything that an encoding says of a row, by each of its questions."""
    tokens = encoding.tokens(row)
    answers = [tokens, encoding.word_ids(row), encoding.sequence_ids(row)]
    answers += [answer(encoding, verb, row, place) for verb in BY_TOKEN for place in range(len(tokens))]
    for sequence in range(2):
        answers += [answer(encoding, verb, row, place, sequence) for verb in BY_WORD for place in range(15)]
        answers += [answer(encoding, verb, row, place, sequence) for verb in BY_CHARACTER for place in range(70)]
    return answers


def answer(encoding: Any, verb: str, *place: int) -> Any:
    """What an encoding answers; None where transformers' `word_to_chars` cannot say that there is no such word."""
    try:
        return getattr(encoding, verb)(*place)
    except TypeError:
        assert not isinstance(encoding, BatchEncoding)
        return None


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("pair", [None, PAIR])
def test_words_and_characters_are_found_as_there(options: dict[str, Any], pair: str | None, both: Both) -> None:
    pairs = None if pair is None else [pair] * len(TEXTS)
    rows = TEXTS if pairs is None else list(zip(TEXTS, pairs, strict=True))
    ours, theirs = both.ours.batch_encode_plus(rows, **options), both.theirs(TEXTS, pairs, **options)
    assert ours.is_fast
    assert ours.n_sequences == theirs.n_sequences == (1 if pair is None else 2)
    for row in range(len(TEXTS)):
        assert row_knowledge(ours, row) == row_knowledge(theirs, row)
        for name in ("ids", "tokens", "type_ids", "attention_mask", "special_tokens_mask", "offsets", "word_ids"):
            assert getattr(ours[row], name) == getattr(theirs[row], name), name
        assert ours[row].ids == ours.input_ids[row]
    assert len(ours[1:3]) == len(theirs[1:3]) == 2


def test_a_place_alone_is_in_the_first_row(context: Both) -> None:
    ours, theirs = context.ours(TEXT, PAIR), context.theirs(TEXT, PAIR)
    for verb in BY_TOKEN + BY_WORD + BY_CHARACTER:
        for place in range(8):
            assert getattr(ours, verb)(place) == getattr(theirs, verb)(place), verb
    word = ours.word_to_tokens(1)
    assert ours.tokens()[word.start : word.end] == ["wrote"]
    characters = ours.word_to_chars(1, sequence_index=1)
    assert PAIR[characters.start : characters.end] == "is"
    assert ours.words() == ours.word_ids()
    assert ours.token_to_word(-2) == ours.token_to_word(len(ours.input_ids) - 2)


def test_words_given_as_a_list_are_counted_as_given(context: Both) -> None:
    words = ["unwanted", "Hamlet?", "in", ""]
    ours, theirs = (tokenizer(words, is_split_into_words=True) for tokenizer in context)
    assert row_knowledge(ours, 0) == row_knowledge(theirs, 0)
    assert ours.word_ids()[:4] == [None, 0, 0, 0]


def test_columns_that_were_given_know_no_words(context: Both) -> None:
    given_columns = BatchEncoding({"input_ids": [[2, 3]]})
    assert not given_columns.is_fast
    assert given_columns.encodings is None
    assert given_columns.n_sequences is None
    for verb in ("tokens", "word_ids", "sequence_ids"):
        with pytest.raises(ValueError, match="words and characters are known where a tokenizer's call"):
            getattr(given_columns, verb)()
    with pytest.raises(ValueError, match="words and characters are known"):
        context.ours.pad(context.ours(TEXTS)).char_to_token(0)


def test_an_encoding_can_be_pickled_copied_and_moved_with_its_words(context: Both) -> None:
    for tensors in (None, "np", "pt"):
        encoding = context.ours(TEXT, PAIR, return_tensors=tensors)
        expected = row_knowledge(context.theirs(TEXT, PAIR), 0)
        for again in (pickle.loads(pickle.dumps(encoding)), copy.deepcopy(encoding), copy.copy(encoding)):
            same(again, dict(encoding))
            assert row_knowledge(again.to("cpu"), 0) == expected


def test_making_the_words_later_changes_neither_the_rows_nor_the_tokenizer(context: Both) -> None:
    first = context.ours(TEXTS, padding=True)
    second = context.ours([PAIR], truncation=True, max_length=5, padding="max_length")
    rows = copy.deepcopy(first.data)
    assert [row.ids for row in first.encodings] == rows["input_ids"] == first.input_ids
    assert [row.ids for row in second.encodings] == second.input_ids
    assert first.encodings is first.encodings
    assert context.ours.backend_tokenizer.truncation is context.ours.backend_tokenizer.padding is None


@pytest.mark.parametrize("strategy", [True, "longest_first", "only_first", "only_second"])
@pytest.mark.parametrize("stride", [0, 2])
@pytest.mark.parametrize("side", ["right", "left"])
def test_what_is_cut_off_makes_rows_of_its_own(strategy: Any, stride: int, side: str, both: Both) -> None:
    for tokenizer in both:
        tokenizer.truncation_side = side
    options = {"return_special_tokens_mask": True, "return_offsets_mapping": True, "return_length": True}
    options |= {"truncation": strategy, "stride": stride, "return_overflowing_tokens": True, "padding": True}
    for pair in ((TEXT, PAIR), (PAIR, TEXT), (PAIR * 2, TEXT), (TEXT, PAIR * 3)):
        lengths = [len(both.ours.tokenize(text)) for text in pair]
        whole = {"only_first": lengths[1], "only_second": lengths[0]}.get(strategy, 7)  # what is not cut
        ours = both.ours.batch_encode_plus([pair, ("", "")], max_length=whole + 11, **options)
        theirs = both.theirs([pair, ("", "")], max_length=whole + 11, **options)
        same(ours, theirs)
        assert len(theirs.input_ids) > 2
        for row in range(len(theirs.input_ids)):
            assert row_knowledge(ours, row) == row_knowledge(theirs, row)


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.tuples(st.integers(0, 20), st.none() | st.integers(1, 20)),
    max_length=st.integers(3, 20),
    stride=st.integers(0, 4),
    special=st.booleans(),
)
def test_any_row_is_cut_into_the_parts_it_is_cut_into_there(
    vocabulary: Any, lengths: Any, max_length: int, stride: int, special: bool
) -> None:
    context = TOKENIZERS.setdefault("context", load_both("DPRContextEncoderTokenizer", vocabulary))
    texts = [" ".join("bcdefghijklmnopqrtuvwx"[:length]) for length in lengths if length is not None]
    options = {"max_length": max_length, "stride": stride, "add_special_tokens": special, "truncation": True}
    options["return_overflowing_tokens"] = True
    edges = context.ours.num_special_tokens_to_add(lengths[1] is not None) if special else 0
    kept = truncated_lengths("longest_first", *lengths, room=max_length - edges)
    if any(count < (length or 0) and count <= stride for count, length in zip(kept, lengths, strict=True)):
        with pytest.raises(ValueError, match=f"must be more than stride, {stride}: raise max_length"):
            context.ours(*texts, **options)
    elif stride < max_length - 2:  # transformers refuses a larger one, even where nothing is cut
        same(context.ours(*texts, **options), context.theirs(*texts, **options))


TOKENIZERS: dict[str, Both] = {}


@pytest.mark.parametrize("return_tensors", ["np", "pt"])
def test_parts_of_many_texts_are_padded_into_one_array(return_tensors: str, both: Both) -> None:
    options = {"max_length": 6, "padding": True, "truncation": "only_first", "return_tensors": return_tensors}
    options |= {"return_overflowing_tokens": True}
    for texts in ([TEXT], [TEXT, "who"], ["who", "", TEXT]):
        ours = both.ours.batch_encode_plus(texts, **options)
        same(ours, both.theirs(texts, **options))
        assert ours.input_ids.shape[1] == 6
    same(both.ours.encode_plus(TEXT, **options), both.theirs(TEXT, **options))


def test_nothing_cut_off_is_one_row_a_text(both: Both) -> None:
    same(
        both.ours.batch_encode_plus(TEXTS, return_overflowing_tokens=True),
        both.theirs(TEXTS, return_overflowing_tokens=True),
    )
    same(
        both.ours.encode_plus("who", return_overflowing_tokens=True), both.theirs("who", return_overflowing_tokens=True)
    )


def test_a_stride_that_repeats_a_whole_row_is_refused(context: Both) -> None:
    """Mended: the library panics, also where no further rows are asked for; or makes rows over max_length."""
    options = {"truncation": True, "max_length": 5, "stride": 3}
    with pytest.raises(ValueError, match="room for 3 tokens of a text that is cut, which must be more than stride, 3"):
        context.ours(TEXT, return_overflowing_tokens=True, **options)
    with pytest.raises(ValueError, match="room for 0 tokens of a text that is cut"):
        context.ours("who", "wrote", truncation=True, max_length=4, return_overflowing_tokens=True)
    assert len(context.ours(TEXT, **options).input_ids) == 5
    with pytest.raises(ValueError, match="stride is -1, but must be a whole number from 0"):
        context.ours(TEXT, stride=-1)


def test_an_encoding_is_a_dictionary_for_a_call(context: Both) -> None:
    ours, theirs = context.ours(TEXTS, padding=True), context.theirs(TEXTS, padding=True)

    def call(**columns: Any) -> dict[str, Any]:
        return columns

    assert call(**ours) == call(**theirs) == dict(ours.items())
    assert list(ours.keys()) == list(theirs.keys())
    assert list(ours.values()) == list(theirs.values())
    assert isinstance(ours.to("cpu"), BatchEncoding)
    assert isinstance(context.ours(TEXTS, padding=True, return_tensors="pt").to("cpu").input_ids, torch.Tensor)
    assert isinstance(ours.convert_to_tensors("np").input_ids, np.ndarray)
