"""Questions are read from the files that people have, and what is found is written as the first code does."""

import json
import unicodedata
from pathlib import Path

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from dpr_export.runtime.corpus.corpus_files import Row
from dpr_export.runtime.corpus.evaluation.squad_metrics import best, exact_match, f1, normalized
from dpr_export.runtime.corpus.retrieval.answer_matching import has_answer
from dpr_export.runtime.corpus.retrieval.questions import Found, Question, read_questions, write_found

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
    assert squad.passages == (Row("0", "The Play", "Hamlet is a play."), Row("1", "The Play", "No."))
    assert squad.own == (0, 1)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    questions = [
        Question("who ?", ("a play",), (Found("7", None, "It is a play.", 1.5), Found("8", "T", "No.", -2.0))),
        Question("日本", (), ()),
    ]
    write_found(tmp_path / "found.json", questions)
    assert read_questions(str(tmp_path / "found.json")).questions == tuple(questions)
    values = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert [each["has_answer"] for each in values[0]["ctxs"]] == [True, False]
    first_code = [{**values[0], "ctxs": [{**values[0]["ctxs"][0], "score": "81.5"}]}]  # it writes scores as strings
    (found,) = read_questions(written(tmp_path, "old.json", json.dumps(first_code))).questions
    assert found.found is not None
    assert found.found[0].score == 81.5


BAD = [
    ("a.tsv", "who ?\n", r"a\.tsv, line 1, has 1 columns, and needs two"),
    ("a.tsv", "who ?\t['a'\n", r"a\.tsv, line 1, needs the answers as a list of strings"),
    ("a.tsv", "who ?\t__import__('os').system('true')\n", "line 1, needs the answers"),
    ("a.tsv", "who ?\t[1]\n", "line 1, needs the answers"),
    ("a.tsv", "who ?\t{[1]}\n", "line 1, needs the answers"),
    ("a.tsv", "a\t['\\ud800']\n", r"a\.tsv, question 1, holds half a surrogate pair"),
    ("a.json", '[{"question": "a"}, {"question": "b", "ctxs": [{"text": "\\ud800"}]}]', "question 2, holds half"),
    ("a.tsv", '"' + "x" * 140_000 + "\n", "line 1, is no row of a table: field larger"),
    (
        "a.json",
        '[{"question": "who ?", "ctxs": [{"text": "a", "score": 1' + "0" * 400 + "}]}]",
        'question 1, passage 1, needs the string "text", and a number as "score"',
    ),
    ("a.tsv", "who ?\t" + "[" * 5000 + "\n", "line 1, needs the answers"),
    ("a.jsonl", "{}\n", r'a\.jsonl, line 1 needs the string "question"'),
    ("a.json", "[1]", "question 1, is no JSON object"),
    ("a.json", '[{"question": "a", "ctxs": 1}]', '"ctxs" is of type int'),
    ("a.json", '[{"question": "a", "ctxs": [{}]}]', 'passage 1, needs the string "text"'),
    ("a.json", '[{"question": "a", "ctxs": [{"text": "a", "score": "x"}]}]', "passage 1, needs"),
    ("a.json", '{"data": [{"paragraphs": [{}]}]}', "is neither SQuAD's JSON nor a retriever's"),
    ("a.json", "{}", "is neither SQuAD's JSON nor a retriever's"),
    ("a.json", "{", "is not JSON"),
    ("a.json", "[" * 100_000, "is not JSON"),
    ("a.txt", "\n", "holds no questions"),
]


@pytest.mark.parametrize(("name", "text", "words"), BAD)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_questions(written(tmp_path, name, text))


def first_codes(text: str, answers: list[str]) -> bool:
    """The first code's rule, token by token."""
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
def test_a_passage_holds_an_answer_by_the_first_codes_rule(text: str, answers: list[str]) -> None:
    assert has_answer(text, answers) is first_codes(text, answers)


def test_case_and_composition_do_not_matter_to_the_rule() -> None:
    assert has_answer("It was by ÉMILE Zola", ["e\u0301mile zola"])
    assert not has_answer("It was by ÉMILE Zola", ["emile zola"])


def test_answers_are_compared_by_squads_rules() -> None:
    """Worked out by hand from the rules: lower case, no ASCII punctuation, no articles, single spaces."""
    assert normalized(" The  quick, brown-fox\tA an THE U.S.A. ") == "quick brownfox usa"
    assert normalized("theatre ante “the”") == "theatre ante “ ”"
    assert exact_match("The Beatles!", "beatles") == 1.0
    assert exact_match("Beatles", "Beatles band") == 0.0
    assert f1("the cat sat", "cat sat down") == pytest.approx(2 * (2 / 2) * (2 / 3) / (2 / 2 + 2 / 3))
    assert f1("cat cat", "cat") == pytest.approx(2 / 3)
    assert f1("the", "a") == 0.0
    assert (f1("", ""), f1("the", ""), f1("cat", ""), f1("", "cat")) == (1.0, 1.0, 0.0, 0.0)
    assert best(f1, "cat", ["dog", "cat sat", "bird"]) == pytest.approx(2 / 3)
    assert best(exact_match, "cat", []) == 0.0
