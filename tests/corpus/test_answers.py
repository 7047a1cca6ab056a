"""Answers as people have them: lists that JSON, Python or NumPy printed, regular expressions, results without scores."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from dpr_export.runtime.corpus.evaluation.scores import score_variant
from dpr_export.runtime.corpus.retrieval.answer_lists import parse_answers
from dpr_export.runtime.corpus.retrieval.answer_matching import MATCHES, has_answer
from dpr_export.runtime.corpus.retrieval.questions import (
    Question,
    RetrievedPassage,
    find_invalid_answers,
    read_questions,
    write_retrieved,
)

REFUSED = None
CELLS = {  # what stands in a cell, and the answers
    "Python's list": ("['Paris', 'London']", ["Paris", "London"]),
    "JSON's list": ('["Paris", "London"]', ["Paris", "London"]),
    "NumPy's list": ("['Paris' 'London']", ["Paris", "London"]),
    "NumPy's list of two lines": ("['Paris'\n 'London']", ["Paris", "London"]),
    "NumPy's list with an apostrophe": ("[\"it's\" 'so']", ["it's", "so"]),
    "NumPy's list of one": ("['Paris']", ["Paris"]),
    "NumPy's list, shortened": ("['a' 'b' ... 'c']", REFUSED),
    "NumPy's list of bytes": ("[b'a' b'b']", REFUSED),
    "what repr writes of an array": ("array(['a', 'b'], dtype='<U1')", REFUSED),
    "a list of NumPy's strings": ("[np.str_('a'), np.str_('b')]", REFUSED),
    "commas for some": ("['a' 'b', 'c']", REFUSED),
    "a tuple without commas": ("('a' 'b')", REFUSED),
    "two strings without a list": ("'a' 'b'", REFUSED),
    "quotes doubled as in SQL": ("['it''s']", REFUSED),
    "quotes within an answer": ("""["say 'a' 'b'", "c"]""", ["say 'a' 'b'", "c"]),
    "empty answers": ("['', \"\"]", ["", ""]),
    "a tuple": ("('a', 'b')", ["a", "b"]),
    "no answers": ("[]", []),
    "spaces around": ("  ['a' 'b'] ", ["a", "b"]),
    "JSON's escapes": ('["caf\\u00e9", "1\\/2", "\\ud83d\\ude00"]', ["café", "1/2", "\U0001f600"]),
    "JSON's null": ('["a", null]', REFUSED),
    "a regular expression": ('["1[89]\\d\\d"]', [r"1[89]\d\d"]),
    "a number": ("[1990]", REFUSED),
    "a word": ("Paris", REFUSED),
    "nothing": ("", REFUSED),
    "not a number": ("nan", REFUSED),
    "a list that does not end": ("['a'", REFUSED),
    "code": ("[__import__('os').getcwd()]", REFUSED),
}  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_answers_in_a_table_are_a_list_or_refused(tmp_path: Path, name: str) -> None:
    cell, answers = CELLS[name]
    quoted = '"' + cell.replace('"', '""') + '"'
    (tmp_path / "a.tsv").write_text(f"who ?\t{quoted}\n")
    if answers is REFUSED:
        with pytest.raises(ValueError, match=r"a\.tsv, line 1: the answers must be a list of strings"):
            read_questions(tmp_path / "a.tsv")
    else:
        assert read_questions(tmp_path / "a.tsv").questions == (Question("who ?", tuple(answers)),)


@settings(deadline=None)
@given(answers=st.lists(st.text(st.sampled_from("ab'\"\\ ,[]né"), max_size=8), min_size=1, max_size=12))
def test_what_numpy_python_and_json_print_is_read_again(answers: list[str]) -> None:
    printed = (str(np.array(answers, dtype=object)), str(answers), repr(tuple(answers)), json.dumps(answers))
    assert [list(parse_answers(text)) for text in printed] == [answers] * 4


def reference_has_answer(text: str, answers: list[str]) -> bool:
    """facebookresearch/DPR's rule for regular expressions, said once more."""

    def contains(pattern: str) -> bool:
        try:
            compiled = regex.compile(pattern, flags=regex.IGNORECASE + regex.UNICODE + regex.MULTILINE)
        except regex.error:
            return False
        return compiled.search(unicodedata.normalize("NFD", text)) is not None

    return any(contains(unicodedata.normalize("NFD", answer)) for answer in answers)


PATTERNS = [
    (r"(Alexei\s+)?Leonov", "The cosmonaut ALEXEI  LEONOV left it.", True),
    (r"^Leonov", "He was\nLeonov.", True),
    (r"Leonov$", "Leonov\nwas he.", True),
    (r"18[67]\d", "in 1884", False),
    (r"18[67]\d", "in 1874", True),
    (r"\$?1,?000 (dollars)?", "It cost 1000 dollars.", True),
    (r"Zo[ëe]", "ZOË", True),
    (r"Zoë", "Zoe\u0308", True),
    (r"Zoe\b", "Zoë", False),
    (r"New York|Long Island", "on long island", True),
    (r"U\.S\.", "in the US", False),
    (r"(unbalanced", "(unbalanced", False),
    (r"a{2}", "baab", True),
    (r"\p{Lu}+", "x", True),  # upper and lower case are the same
    (r"", "anything", True),
    (r"ß", "SS", False),
]


@pytest.mark.parametrize(("pattern", "text", "expected"), PATTERNS)
def test_regular_expressions_are_matched_as_facebookresearch_dpr_does(pattern: str, text: str, expected: bool) -> None:
    assert has_answer(text, [pattern], "regex") is reference_has_answer(text, [pattern]) is expected
    assert has_answer(text, ["no", pattern], "regex") is reference_has_answer(text, ["no", pattern])


def scored(answers: tuple[str, ...], text: str, answer: str, match: str) -> tuple[Any, Any, Any]:
    question = Question("who ?", answers, (RetrievedPassage("1", None, text, 1.0),))
    score = score_variant("openvino-fp32", [question], [answer], 1, 1, {}, match)
    return score.top_k[1], score.exact_match, score.f1


def test_a_variant_is_scored_with_regular_expressions() -> None:
    """Top-1 was 0 in place of 100%: as a string, no passage contains the expression."""
    answers = (r"(Alexei\s+)?Leonov",)
    assert scored(answers, "It was Alexei Leonov.", "Alexei Leonov", "string") == (0.0, 0.0, 0.0)
    assert scored(answers, "It was Alexei Leonov.", "Alexei Leonov", "regex") == (1.0, 1.0, None)
    assert scored(answers, "It was Alexei Leonov.", "leonov, Alexei", "regex") == (1.0, 1.0, None)  # from the start
    assert scored(answers, "It was Gagarin.", "the cosmonaut Leonov", "regex") == (0.0, 0.0, None)
    assert scored(("(", " "), "(", "(", "regex")[1] == 0.0


def test_an_answer_that_is_no_regular_expression_is_named() -> None:
    questions = [Question("a", ("ok",)), Question("b", ("x(", "[", "y"))]
    first, second = find_invalid_answers(questions)
    assert first.startswith("question 2: the answer 'x(' matches nothing: it is no regular expression (missing )")
    assert second.startswith("question 2: the answer '[' matches nothing")


def test_what_is_found_is_written_with_the_rule_that_was_asked_for(tmp_path: Path) -> None:
    question = Question("who ?", ("Leo.*",), (RetrievedPassage("1", None, "Leonov", 1.0),))
    for match, expected in zip(MATCHES, (False, True), strict=True):
        write_retrieved(tmp_path / "a.json", [question], match)
        assert json.loads((tmp_path / "a.json").read_text())[0]["ctxs"][0]["has_answer"] is expected
    with pytest.raises(ValueError, match="match is 'fuzzy', and must be one of: string, regex"):
        write_retrieved(tmp_path / "b.json", [question], "fuzzy")
    assert not (tmp_path / "b.json").exists()


RESULTS = {  # a passage of a retriever's results, and what is read of it, or the words that refuse it
    "no score": ({"id": "1", "text": "a"}, ("1", None, "a", 0.0)),
    "a score that is null": ({"id": "1", "text": "a", "score": None}, ("1", None, "a", 0.0)),
    "a score in a string": ({"id": "1", "text": "a", "score": "81.5"}, ("1", None, "a", 81.5)),
    "a whole number": ({"id": 1, "text": "a", "score": 3}, ("1", None, "a", 3.0)),
    "an id that is null": ({"id": None, "text": "a", "score": 1}, ("", None, "a", 1.0)),
    "no id": ({"text": "a", "score": 1}, ("", None, "a", 1.0)),
    "a title that is null": ({"id": "1", "text": "a", "title": None}, ("1", None, "a", 0.0)),
    "an empty title": ({"id": "1", "text": "a", "title": ""}, ("1", None, "a", 0.0)),
    "Pyserini's results": ({"docid": "1", "score": "9.5", "text": "T\na", "has_answer": True}, ("1", None, "T\na", 9.5)),
    "a score that is not a number": ({"id": "1", "text": "a", "score": float("nan")}, '"score" is nan, and must be a number'),
    "an infinite score": ({"id": "1", "text": "a", "score": float("inf")}, '"score" is inf, and must be a number'),
    "an empty score": ({"id": "1", "text": "a", "score": ""}, "\"score\" is '', and must be a number"),
    "a list of scores": ({"id": "1", "text": "a", "score": [1]}, '"score" is [1], and must be a number'),
    "no text": ({"id": "1", "score": 1}, 'needs strings as "text" and "title"'),
    "a text that is null": ({"id": "1", "text": None}, 'needs strings as "text" and "title"'),
    "a number for a title": ({"id": "1", "text": "a", "title": 1984}, 'needs strings as "text" and "title"'),
    "a passage that is a string": ("a", 'needs strings as "text" and "title"'),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_results_of_retrievers_are_read_or_refused(tmp_path: Path, name: str) -> None:
    passage, expected = RESULTS[name]
    (tmp_path / "a.json").write_text(json.dumps([{"question": "q", "answers": ["a"], "ctxs": [passage]}]))
    if isinstance(expected, tuple):
        (question,) = read_questions(tmp_path / "a.json").questions
        assert question.retrieved == (RetrievedPassage(*expected),)
    else:
        with pytest.raises(ValueError, match=r"a\.json, question 1, passage 1: ") as error:
            read_questions(tmp_path / "a.json")
        assert expected in str(error.value)


def test_answers_that_are_null_are_not_known(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "a", "answers": null}\n{"question": "b", "answer": "c"}\n')
    assert [each.answers for each in read_questions(tmp_path / "a.jsonl").questions] == [(), ("c",)]


def test_questions_are_normalized_as_facebookresearch_dpr_does(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('who wrote schindler’s ‘list’\t["Keneally’s"]\n')
    assert read_questions(tmp_path / "a.tsv").questions[0].text == "who wrote schindler’s ‘list’"
    (question,) = read_questions(tmp_path / "a.tsv", normalize=True).questions
    assert question == Question("who wrote schindler's ‘list'", ("Keneally’s",))
