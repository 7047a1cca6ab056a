"""Questions are read from common formats, and retrieval results are written as facebookresearch/DPR does."""

import json
import unicodedata
from pathlib import Path

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from dpr_export.runtime.corpus.evaluation.squad_metrics import best_score, exact_match, f1, normalize
from dpr_export.runtime.corpus.passages import Passage
from dpr_export.runtime.corpus.retrieval.answer_matching import has_answer
from dpr_export.runtime.corpus.retrieval.questions import Question, RetrievedPassage, read_questions, write_retrieved
from dpr_export.runtime.corpus.squad import SquadAnswer, SquadQuestion, read_squad

SQUAD = {
    "version": "1.1",
    "data": [
        {
            "title": "The_Play",
            "paragraphs": [
                {
                    "context": "Hamlet is a play.",
                    "qas": [{"question": "What?", "answers": [{"text": "a play"}] * 2}],
                },
                {"context": "No.", "qas": [{"question": "Why?", "answers": []}]},
            ],
        }
    ],
}


def written(tmp_path: Path, name: str, text: str) -> str:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return str(tmp_path / name)


def test_every_format_is_read(tmp_path: Path) -> None:
    table = 'who ?\t[\'a "b"\', "it\'s"]\n"say ""hi"" ?"\t["x"]\n'
    assert read_questions(written(tmp_path, "nq.csv", table)).questions == (
        Question("who ?", ('a "b"', "it's")),
        Question('say "hi" ?', ("x",)),
    )
    lines = '{"question": "who ?", "answers": ["a"]}\n{"question": "what ?", "answer": "b"}\n'
    assert read_questions(written(tmp_path, "a.jsonl", lines)).questions == (
        Question("who ?", ("a",)),
        Question("what ?", ("b",)),
    )
    assert read_questions(written(tmp_path, "a.txt", "who ?\n\nwhat ?\n")).questions == (
        Question("who ?"),
        Question("what ?"),
    )
    squad = read_questions(written(tmp_path, "squad.json", json.dumps(SQUAD)))
    assert squad.questions == (Question("What?", ("a play",)), Question("Why?", ("",)))
    assert squad.passages == (Passage("0", "The Play", "Hamlet is a play."), Passage("1", "The Play", "No."))
    assert squad.gold == (0, 1)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    questions = [
        Question(
            "who ?",
            ("a play",),
            (RetrievedPassage("7", None, "It is a play.", 1.5), RetrievedPassage("8", "T", "No.", -2.0)),
        ),
        Question("日本", (), ()),
    ]
    write_retrieved(tmp_path / "found.json", questions)
    assert read_questions(str(tmp_path / "found.json")).questions == tuple(questions)
    values = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert [each["has_answer"] for each in values[0]["ctxs"]] == [True, False]
    first_code = [{**values[0], "ctxs": [{**values[0]["ctxs"][0], "score": "81.5"}]}]  # it writes scores as strings
    (found,) = read_questions(written(tmp_path, "old.json", json.dumps(first_code))).questions
    assert found.retrieved is not None
    assert found.retrieved[0].score == 81.5


BAD = [
    ("a.tsv", "who ?\n", r"a\.tsv, line 1: the number of columns is 1, not 2: question, answers"),
    ("a.tsv", "who ?\t['a'\n", r"a\.tsv, line 1: the answers must be a list of strings"),
    ("a.tsv", "who ?\t__import__('os').system('true')\n", "line 1: the answers must be"),
    ("a.tsv", "who ?\t[1]\n", "line 1: the answers must be"),
    ("a.tsv", "who ?\t{[1]}\n", "line 1: the answers must be"),
    ("a.tsv", "a\t['\\ud800']\n", r"a\.tsv, question 1: half a surrogate pair"),
    ("a.json", '[{"question": "a"}, {"question": "b", "ctxs": [{"text": "\\ud800"}]}]', "question 2: half"),
    ("a.tsv", '"' + "x" * 140_000 + '"\n', "line 1: not a row of a table: field larger"),
    (
        "a.json",
        '[{"question": "who ?", "ctxs": [{"text": "a", "score": 1' + "0" * 400 + "}]}]",
        'question 1, passage 1: "score" is 10*, and must be a number',
    ),
    ("a.tsv", "who ?\t" + "[" * 5000 + "\n", "line 1: the answers must be"),
    ("a.jsonl", "{}\n", r'a\.jsonl, line 1: must be a JSON object with the string "question"'),
    ("a.json", "[1]", "question 1: must be a JSON object"),
    ("a.json", '[{"question": "a", "ctxs": 1}]', '"ctxs" is of type int'),
    ("a.json", '[{"question": "a", "ctxs": [{}]}]', 'passage 1: needs strings as "text" and "title"'),
    ("a.json", '[{"question": "a", "ctxs": [{"text": "a", "score": "x"}]}]', "passage 1: \"score\" is 'x', and must"),
    ("a.json", '{"data": [{"paragraphs": [{}]}]}', "is not in SQuAD's format"),
    ("a.json", "{}", "is not in SQuAD's format"),
    ("a.json", "{", "is not JSON"),
    ("a.json", "[" * 100_000, "is not JSON"),
    ("a.txt", "\n", "holds no questions"),
]


@pytest.mark.parametrize(("name", "text", "words"), BAD)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_questions(written(tmp_path, name, text))


def reference_has_answer(text: str, answers: list[str]) -> bool:
    """facebookresearch/DPR's rule, token by token."""
    pattern = regex.compile(r"([\p{L}\p{N}\p{M}]+)|([^\p{Z}\p{C}])", regex.IGNORECASE + regex.UNICODE + regex.MULTILINE)

    def words(given: str) -> list[str]:
        return [m.group().lower() for m in pattern.finditer(unicodedata.normalize("NFD", given))]

    passage = words(text)
    for answer in map(words, answers):
        for start in range(len(passage) - len(answer) + 1):
            if passage[start : start + len(answer)] == answer:
                return True
    return False


LETTERS = st.text(st.sampled_from("aAbB éÉé,.-'ßİıⅣ²日한\u200d\u00ad\n\t_€"), max_size=8)


@given(text=LETTERS, answers=st.lists(LETTERS, max_size=2))
@example(text="It was by Émile Zola", answers=["emile"])
@example(text="It was by ÉMILE Zola", answers=["e\u0301mile zola"])
@example(text="By e\u0301mile zola", answers=["Émile ZOLA"])
@example(text="ab", answers=["a"])
@example(text="anything", answers=[""])
@example(text="", answers=["\u200d"])
def test_a_passage_contains_an_answer_by_the_rule_of_facebookresearch_dpr(text: str, answers: list[str]) -> None:
    assert has_answer(text, answers) is reference_has_answer(text, answers)


def test_case_and_composition_do_not_matter_to_the_rule() -> None:
    assert has_answer("It was by ÉMILE Zola", ["e\u0301mile zola"])
    assert not has_answer("It was by ÉMILE Zola", ["emile zola"])


def test_answers_are_compared_by_squads_rules() -> None:
    """Worked out by hand from the rules: lower case, no ASCII punctuation, no articles, single spaces."""
    assert normalize(" The  quick, brown-fox\tA an THE U.S.A. ") == "quick brownfox usa"
    assert normalize("theatre ante “the”") == "theatre ante “ ”"
    assert exact_match("The Beatles!", "beatles") == 1.0
    assert exact_match("Beatles", "Beatles band") == 0.0
    assert f1("the cat sat", "cat sat down") == pytest.approx(2 * (2 / 2) * (2 / 3) / (2 / 2 + 2 / 3))
    assert f1("cat cat", "cat") == pytest.approx(2 / 3)
    assert f1("the", "a") == 0.0
    assert (f1("", ""), f1("the", ""), f1("cat", ""), f1("", "cat")) == (1.0, 1.0, 0.0, 0.0)
    assert best_score(f1, "cat", ["dog", "cat sat", "bird"]) == pytest.approx(2 / 3)
    assert best_score(exact_match, "cat", []) == 0.0


@pytest.mark.parametrize(
    ("answer", "golds", "exact", "overlap"),
    [
        ("The Eiffel Tower!", ["eiffel tower"], True, 1.0),
        ("in the summer of 1889", ["1889", "summer 1889"], False, 2 * 2 / (4 + 2)),  # the article does not count
        ("a", ["the"], True, 0.0),  # nothing is left of either, and no word is shared
        ("a", ["tower"], False, 0.0),
        ("new new york", ["new york"], False, 2 * 2 / (3 + 2)),  # a repeated word is shared once
        ("U.S.", ["US"], True, 1.0),
        ("Denver  Broncos", ["Broncos", "denver broncos"], True, 1.0),
    ],
)
def test_the_metric_agrees_with_cases_worked_by_hand(
    answer: str, golds: list[str], exact: bool, overlap: float
) -> None:
    assert best_score(exact_match, answer, golds) == exact
    assert best_score(f1, answer, golds) == pytest.approx(overlap)


def test_a_squad_file_is_read_into_passages_and_questions(tmp_path: Path) -> None:
    path = tmp_path / "squad.json"
    path.write_text(
        '{"data": [{"title": "Skerra_Point", "paragraphs": [{"context": "Built in 1874.", "qas": ['
        '{"id": "1", "question": " When? ", "answers": [{"answer_start": 9, "text": "1874"}]},'
        '{"id": "2", "question": "Why?", "answers": []}]}]}]}'
    )
    squad = read_squad(path)
    assert squad.passages == (Passage("0", "Skerra Point", "Built in 1874."),)
    assert squad.articles == (0,)
    when = SquadQuestion(" When? ", 0, (SquadAnswer("1874", 9),))
    assert squad.questions == (when, SquadQuestion("Why?", 0, ()))
    assert squad.answerable().questions == (when,)
