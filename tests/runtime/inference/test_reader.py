"""`answer` finds spans in the passage text alone, as it was written; `rank` orders passages."""

import itertools
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import example, given
from hypothesis import strategies as st

from dpr_export.runtime import DPRReader
from dpr_export.runtime.inference.answers import whole_words

QUESTION = "who wrote hamlet ?"
TITLES = ["Hamlet", "Paris", "River"]
TEXTS = [
    "Hamlet was, by the play, a William-Shakespeare play.",
    "The CAPITAL of France; Paris is the capital.",
    "A river of the play in France.",
]


@pytest.fixture(scope="module")
def reader(tiny: dict[str, Path]) -> DPRReader:
    return DPRReader.from_pretrained(tiny["reader"])


@pytest.fixture(scope="module")
def reference(tiny: dict[str, Path]) -> tuple:
    folder = tiny["reader"].with_name("reader-checkpoint")
    return (
        transformers.DPRReaderTokenizer.from_pretrained(folder),
        transformers.DPRReader.from_pretrained(folder, attn_implementation="eager"),
    )


def test_rank_gives_transformers_relevance_in_the_order_of_the_passages(reader: DPRReader, reference: tuple) -> None:
    tokenizer, model = reference
    found = reader.rank(QUESTION, TITLES, TEXTS)
    for index, (title, text) in enumerate(zip(TITLES, TEXTS, strict=True)):
        with torch.no_grad():
            expected = model(**tokenizer(QUESTION, title, text, return_tensors="pt")).relevance_logits
        assert found[index] == pytest.approx(expected.item(), abs=1e-5)
    assert found.dtype == np.float32


def test_an_answers_span_is_the_best_one_of_transformers_within_the_text(reader: DPRReader, reference: tuple) -> None:
    """With all spans of transformers at hand, the first that lies in the text is the answer's."""
    tokenizer, model = reference
    answers = reader.answer(QUESTION, TITLES, TEXTS, top_k=3, max_answer_length=4)
    assert [answer.passage for answer in answers] == np.argsort(-reader.rank(QUESTION, TITLES, TEXTS)).tolist()
    for answer in answers:
        title, text = TITLES[answer.passage], TEXTS[answer.passage]
        encoded = tokenizer(QUESTION, title, text, return_tensors="pt")
        with torch.no_grad():
            outputs = model(**encoded)
        text_start = len(tokenizer(QUESTION, title)["input_ids"])
        starts, ends = outputs.start_logits[0].numpy(), outputs.end_logits[0].numpy()
        best = max(
            (starts[i] + ends[j], -i, -j)
            for i in range(text_start, len(starts))
            for j in range(i, min(i + 4, len(ends)))
        )
        assert (answer.span.start_index, answer.span.end_index) == (-best[1], -best[2])
        assert answer.span_score == pytest.approx(best[0], abs=1e-5)
        assert answer.relevance_score == pytest.approx(outputs.relevance_logits.item(), abs=1e-5)
        span = encoded["input_ids"][0, answer.span.start_index : answer.span.end_index + 1]
        assert answer.span.text == tokenizer.decode(span)


def test_an_answer_is_a_piece_of_the_passage_as_written(reader: DPRReader) -> None:
    answers = reader.answer(QUESTION, TITLES, TEXTS, top_k=9, spans_per_passage=3)
    assert len(answers) > 3
    for answer in answers:
        assert TEXTS[answer.passage][answer.start : answer.end] == answer.text != ""
        assert answer.title == TITLES[answer.passage]
        assert not answer.truncated


def test_many_questions_in_one_call_get_what_each_gets_alone(reader: DPRReader) -> None:
    questions = [QUESTION, "where was it ?"]
    together = reader.answer(questions, [TITLES, TITLES[:1]], [TEXTS, TEXTS[:1]])
    assert [len(answers) for answers in together] == [3, 1]
    for question, answers, count in zip(questions, together, (3, 1), strict=True):
        alone = reader.answer(question, TITLES[:count], TEXTS[:count])
        assert [(a.passage, a.start, a.end) for a in answers] == [(a.passage, a.start, a.end) for a in alone]
        assert [a.span_score for a in answers] == pytest.approx([a.span_score for a in alone], abs=1e-5)


def test_a_literal_sep_in_the_question_moves_no_answer_out_of_the_text(reader: DPRReader) -> None:
    for answer in reader.answer("who [SEP] wrote [SEP] it ?", TITLES, TEXTS, top_k=9, spans_per_passage=3):
        assert TEXTS[answer.passage][answer.start : answer.end] == answer.text


def test_a_long_passage_is_cut_and_says_so_or_is_read_in_windows(reader: DPRReader) -> None:
    long = "play " * 600 + "shakespeare"
    (cut,) = reader.answer(QUESTION, ["t"], [long])
    assert cut.truncated
    windows = reader.answer(QUESTION, ["t"], [long], stride=50, top_k=999, spans_per_passage=999)
    assert not any(answer.truncated for answer in windows)
    assert max(answer.end for answer in windows) > 5 * 512
    assert len({(answer.start, answer.end) for answer in windows}) == len(windows)


def test_an_empty_text_has_no_answer(reader: DPRReader) -> None:
    assert reader.answer(QUESTION, ["t"], [""]) == []
    assert [a.passage for a in reader.answer(QUESTION, ["t", "u"], ["", "the play"])] == [1]


def test_a_passage_gives_as_many_answers_apart_as_it_has(reader: DPRReader) -> None:
    """Word pieces of one word widen to the same answer, which is given once, and others are looked for."""
    text = "cbsabsa gbaabbs esbsssa hbbsbsa csasbaa"
    answers = reader.answer(QUESTION, ["t"], [text], max_answer_length=1, spans_per_passage=5, top_k=9)
    assert sorted(answer.text for answer in answers) == sorted(text.split())
    wide = reader.answer(QUESTION, ["t"], [text], spans_per_passage=3, top_k=9)
    places = sorted((answer.start, answer.end) for answer in wide)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(places))


def test_a_string_is_a_list_of_one_passage(reader: DPRReader) -> None:
    (answer,) = reader.answer(QUESTION, "hamlet", "a play")
    assert (answer.passage, answer.title) == (0, "hamlet")
    assert reader.rank(QUESTION, "hamlet", "a play").shape == (1,)
    with pytest.raises(TypeError, match="titles is one string: for a list of questions"):
        reader.answer([QUESTION], "t", ["a"])


def test_arrays_and_tuples_of_passages_are_lists(reader: DPRReader) -> None:
    titles, texts = ["hamlet", "t"], ["a play", "b"]
    expected = reader.answer(QUESTION, titles, texts)
    assert reader.answer(QUESTION, np.array(titles), np.array(texts, dtype=object)) == expected
    assert reader.answer(QUESTION, tuple(titles), tuple(texts)) == expected
    assert reader.answer([QUESTION], np.array([titles]), np.array([texts])) == [expected]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((QUESTION, None, None), "texts is of type NoneType: give a list"),
        ((QUESTION, ["t"], 7), "texts is of type int: give a list"),
        ((QUESTION, ["t", "u"], {"a", "b"}), "texts is of type set: give a list"),
        ((QUESTION, ["t"], {"a": "b"}), "texts is of type dict: give a list"),
        ((QUESTION, np.array("t"), ["a"]), "titles is of type ndarray: give a list"),
        (([QUESTION], {"t": ["t"]}, [["a"]]), "titles is of type dict: give a list"),
        (([None], [["t"]], [["a"]]), r"question\[0\] is of type NoneType: give a string"),
        (([QUESTION], [["t"]], [None]), r"texts\[0\] is of type NoneType: give a list"),
        (([QUESTION], None, 7), "texts is of type int: give a list"),
        ((QUESTION, ["t"], ["a", None]), r"texts\[1\] is of type NoneType, not a string"),
        (([QUESTION], [["t", 0.5]], [["a", "b"]]), r"titles\[0\]\[1\] is of type float, not a string"),
        ((None, ["t"], ["a"]), "question is of type NoneType: give a list"),
    ],
)
def test_what_is_no_list_is_refused_by_name(reader: DPRReader, arguments: tuple, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        reader.answer(*arguments)


def test_the_question_of_a_ranking_is_one_string(reader: DPRReader) -> None:
    for question in (None, [QUESTION]):
        with pytest.raises(TypeError, match=f"question is of type {type(question).__name__}: give a string"):
            reader.rank(question, ["t"], ["a"])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((QUESTION, [], []), {}, "texts is empty"),
        ((QUESTION, ["t"], ["a", "b"]), {}, "titles has 1 entries and texts 2"),
        ((QUESTION, ["t"], ["a"]), {"top_k": 0}, "top_k is 0, and must be an integer of at least 1"),
        ((QUESTION, ["t"], ["a"]), {"max_answer_length": -1}, "max_answer_length is -1"),
        ((QUESTION, ["t"], ["a"]), {"spans_per_passage": 0}, "spans_per_passage is 0"),
        ((["q", "r"], [["t"]], [["a"]]), {}, "there are 2 questions, 1 lists of titles"),
        (("play " * 600, ["t"], ["a"]), {}, "512"),
    ],
)
def test_wrong_arguments_are_refused_by_name(reader: DPRReader, arguments: tuple, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reader.answer(*arguments, **options)


@pytest.mark.parametrize(
    ("text", "piece", "widened"),
    [
        ("Shakespeare's plays", "Shake", "Shakespeare"),
        ("William Shakespeare.", "speare", "Shakespeare"),
        ("in 1869, when", "869", "1869"),
        ("cafe\u0301 noir", "cafe", "cafe\u0301"),
        ("well-known fact", "known", "known"),
        ("東京は首都", "京", "京"),
        ("か\u3099き", "か", "か\u3099"),
        ("ที่นี่", "ที่น", "ที่นี่"),
        ("Shake\u00adspeare wrote", "Shake", "Shake\u00adspeare"),
        ("می\u200cخواهم x", "می", "می\u200cخواهم"),
        ("a b", "a", "a"),
    ],
)
def test_an_answer_is_widened_to_whole_words(text: str, piece: str, widened: str) -> None:
    start = text.index(piece)
    assert text[slice(*whole_words(text, start, start + len(piece)))] == widened


def _mark(character: str) -> bool:
    return bool(character) and (unicodedata.category(character)[0] == "M" or unicodedata.category(character) == "Cf")


@example(":\xad", (1, 1))
@given(st.text(max_size=40), st.tuples(st.integers(0, 40), st.integers(0, 40)))
def test_widening_never_narrows_and_is_done_once(text: str, place: tuple[int, int]) -> None:
    start = min(place[0], len(text))
    end = min(start + place[1], len(text))
    wide = whole_words(text, start, end)
    assert wide[0] <= start <= end <= wide[1]
    assert whole_words(text, *wide) == wide
    for index in (*range(wide[0], start), *range(end, wide[1])):
        belongs = _mark(text[index + 1 : index + 2])  # a mark takes with it what it stands on, whatever that is
        assert unicodedata.category(text[index])[0] in "LN" or _mark(text[index]) or belongs
