"""The texts that `encode` and `answer` take: lists and nothing else, titles by one rule, long ones cut."""

from collections import OrderedDict, UserDict
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dpr_export.runtime import DPRContextEncoder, DPRQuestionEncoder, DPRReader
from dpr_export.runtime.corpus.retrieval.search import search

QUESTION = "who wrote hamlet ?"
TEXTS = ["hamlet is a play by shakespeare", "paris is the capital of france", "a river in france"]


@pytest.fixture(scope="module")
def context(tiny: dict[str, Path]) -> DPRContextEncoder:
    return DPRContextEncoder.from_pretrained(tiny["context"], backend="onnxruntime")


@pytest.fixture(scope="module")
def question(tiny: dict[str, Path]) -> DPRQuestionEncoder:
    return DPRQuestionEncoder.from_pretrained(tiny["question"], backend="onnxruntime")


@pytest.fixture(scope="module")
def reader(tiny: dict[str, Path]) -> DPRReader:
    return DPRReader.from_pretrained(tiny["reader"], backend="onnxruntime")


NO_LISTS = {
    "a dictionary": ({"q1": "who ?"}, "texts is of type dict: give a list"),
    "an ordered dictionary": (OrderedDict(q1="who ?"), "texts is of type OrderedDict: give a list"),
    "a user's dictionary": (UserDict(q1="who ?"), "texts is of type UserDict: give a list"),
    "a view of a dictionary": (MappingProxyType({"q1": "who ?"}), "texts is of type mappingproxy: give a list"),
    "the keys of a dictionary": ({"who ?": 1}.keys(), "texts is of type dict_keys: give a list"),
    "a set": ({"who ?"}, "texts is of type set: give a list"),
    "a frozen set": (frozenset({"who ?"}), "texts is of type frozenset: give a list"),
    "bytes": (b"who ?", "texts is of type bytes: give a list"),
    "a bytearray": (bytearray(b"who ?"), "texts is of type bytearray: give a list"),
    "a number": (7, "texts is of type int: give a list"),
    "an array without dimensions": (np.array("who ?"), "texts is of type ndarray: give a list"),
    "an array of rows": (np.array([["who ?"]]), r"texts\[0\] is of type ndarray, not a string"),
    "a list of lists": ([["who ?"]], r"texts\[0\] is of type list, not a string"),
    "a list with None": (["who ?", None], r"texts\[1\] is of type NoneType, not a string"),
    "a list with a missing number": (["who ?", float("nan")], r"texts\[1\] is of type float, not a string"),
    "rows of a table": ([{"text": "who ?"}], r"texts\[0\] is of type dict, not a string"),
}


@pytest.mark.parametrize("name", NO_LISTS)
def test_what_is_no_list_of_strings_is_refused(
    question: DPRQuestionEncoder, context: DPRContextEncoder, reader: DPRReader, name: str
) -> None:
    value, words = NO_LISTS[name]
    for call in (question.encode, context.encode, lambda texts: reader.answer(QUESTION, None, texts)):
        with pytest.raises(TypeError, match=words):
            call(value)


def test_a_table_is_refused_wherever_a_list_is_asked_for(context: DPRContextEncoder, reader: DPRReader) -> None:
    """Iterating over pandas' DataFrame gives the names of its columns."""

    class Table(list):
        columns = ("text",)

    for call in (context.encode, lambda texts: reader.answer(QUESTION, None, texts)):
        with pytest.raises(TypeError, match="texts is of type Table: give a list"):
            call(Table(["text"]))


def test_a_dictionary_of_questions_is_refused_by_search(question: DPRQuestionEncoder) -> None:
    index: Any = SimpleNamespace()
    with pytest.raises(TypeError, match="questions is of type dict: give a list"):
        search({"q1": "who ?"}, question, index)  # type: ignore[arg-type]


def test_lists_of_every_kind_are_read(question: DPRQuestionEncoder) -> None:
    expected = question.encode(["who ?", "where ?"])
    values = {1: "who ?", 2: "where ?"}.values()
    for texts in (("who ?", "where ?"), np.array(["who ?", "where ?"]), iter(["who ?", "where ?"]), values):
        np.testing.assert_array_equal(question.encode(texts), expected)


def test_half_a_surrogate_pair_is_named_before_anything_is_computed(
    context: DPRContextEncoder, reader: DPRReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "run_rows", None)
    monkeypatch.setattr(reader, "run_rows", None)
    texts = ["a"] * 700 + ["caf\ud83d"]
    with pytest.raises(ValueError, match=r"texts\[700\] holds half a surrogate pair, .* at position 3"):
        context.encode(texts)
    with pytest.raises(ValueError, match=r"texts\[1\]\[700\] holds half a surrogate pair"):
        reader.answer([QUESTION] * 2, None, [["a"], texts])


TITLES: dict[str, Any] = {  # no titles, in every way that they are given
    "no list": None,
    "a list of None": [None] * 3,
    "empty titles": [""] * 3,
    "some of each": [None, "", None],
    "an array": np.array(["", None, ""], dtype=object),
    "a tuple": ("", "", ""),
}


@pytest.mark.parametrize("name", TITLES)
def test_no_title_is_one_thing(context: DPRContextEncoder, reader: DPRReader, name: str) -> None:
    """As in facebookresearch/DPR: an encoder reads the text alone, the reader has an empty title."""
    titles = TITLES[name]
    alone = context.tokenizer(TEXTS, padding=True, return_tensors="np")
    np.testing.assert_allclose(context.encode(TEXTS, titles), context(**alone).pooler_output, atol=1e-5)
    for rows in (reader.tokenizer([QUESTION] * 3, [""] * 3, TEXTS, padding=True, return_tensors="np"),):
        expected = reader(**rows).relevance_logits
        np.testing.assert_allclose(reader.rank(QUESTION, titles, TEXTS), expected, atol=1e-5)
    answers = reader.answer(QUESTION, titles, TEXTS)
    assert [answer.title for answer in answers] == [""] * len(answers)
    assert reader.answer([QUESTION] * 2, None if titles is None else [titles, None], [TEXTS, TEXTS]) == [answers] * 2


def test_a_title_of_spaces_is_a_title(context: DPRContextEncoder) -> None:
    """As in facebookresearch/DPR, which asks whether there is a string."""
    pair = context.tokenizer([" "], [TEXTS[0]], return_tensors="np")
    np.testing.assert_allclose(context.encode(TEXTS[:1], [" "]), context(**pair).pooler_output, atol=1e-5)


LONG = "play " * 600


def test_a_title_longer_than_the_model_is_cut_and_that_is_said(reader: DPRReader) -> None:
    answers = reader.answer(QUESTION, [LONG, "t", LONG, ""], [*TEXTS, "shakespeare"], top_k=9)
    assert {answer.passage: answer.truncated for answer in answers} == {0: True, 1: False, 2: True, 3: False}
    for answer in answers:
        text = [*TEXTS, "shakespeare"][answer.passage]
        assert text[answer.start : answer.end] == answer.text != ""
    assert np.isfinite(reader.rank(QUESTION, [LONG] * 3, TEXTS)).all()
    windows = reader.answer(QUESTION, [LONG], [LONG + "hamlet"], stride=20, top_k=999, spans_per_passage=999)
    assert all(answer.truncated for answer in windows)  # the title is
    assert max(answer.end for answer in windows) > 5 * 512


def test_a_long_title_costs_the_other_passages_nothing(reader: DPRReader) -> None:
    alone = reader.rank(QUESTION, ["t"], TEXTS[:1])
    together = reader.rank(QUESTION, ["t", LONG, LONG * 9], [TEXTS[0], LONG, ""])
    assert together[0] == pytest.approx(alone[0], abs=1e-5)


def test_a_question_that_is_too_long_fails_no_other(reader: DPRReader) -> None:
    with pytest.warns(UserWarning, match=r"question\[1\] is passed over: passage 0 has 600 tokens of question"):
        answers = reader.answer([QUESTION, LONG, QUESTION], [["t"]] * 3, [TEXTS[:1]] * 3)
    assert answers == [reader.answer(QUESTION, ["t"], TEXTS[:1]), [], answers[0]]
    with pytest.warns(UserWarning, match=r"question\[0\] is passed over: stride is 100"):
        answers = reader.answer(["play " * 450, QUESTION], None, [[LONG], TEXTS], stride=100)
    assert [bool(each) for each in answers] == [False, True]
    with pytest.raises(ValueError, match="600 tokens of question"):
        reader.answer(LONG, ["t"], TEXTS[:1])


def test_a_question_without_passages_fails_no_other(reader: DPRReader) -> None:
    answers = reader.answer([QUESTION, QUESTION], [[], ["t"]], [[], TEXTS[:1]])
    assert answers == [[], reader.answer(QUESTION, ["t"], TEXTS[:1])]
    assert reader.answer([], [], []) == []
