"""Read questions with their answers, and write the passages that were retrieved for them.

facebookresearch/DPR keeps questions in a table, `question TAB ["answer", ...]`, and retrieval results in JSON: a
list of {question, answers, ctxs: [{id, title, text, score, has_answer}]}.
"""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from dpr_export.models.artifact.atomic_writing import atomic_file
from dpr_export.models.artifact.records import has_lone_surrogate
from dpr_export.runtime.corpus.column_names import find_fields
from dpr_export.runtime.corpus.passages import Passage
from dpr_export.runtime.corpus.retrieval.answer_lists import parse_answers
from dpr_export.runtime.corpus.retrieval.answer_matching import invalid_answers, make_matcher
from dpr_export.runtime.corpus.squad import parse_squad
from dpr_export.runtime.corpus.table import parse_table
from dpr_export.runtime.corpus.text_files import (
    check_lines,
    cut_lines,
    load_json,
    open_text,
    parse_json_lines,
    valid_rows,
)

TABLES = (".tsv", ".csv")


class RetrievedPassage(NamedTuple):
    """A passage that a retriever found, and its score."""

    id: str
    title: str | None
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Question:
    """A question.

    `answers` are the right ones, empty if they are not known. `retrieved` are the passages that a retriever found, the
    best first; None if no retriever has run.
    """

    text: str
    answers: tuple[str, ...] = ()
    retrieved: tuple[RetrievedPassage, ...] | None = None


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """The questions of a file, and the passages that are in the same file.

    `gold` has the position in `passages` of each question's own passage. Both are empty if the file has no passages.
    """

    questions: tuple[Question, ...]
    passages: tuple[Passage, ...] = ()
    gold: tuple[int, ...] = ()


def read_questions(file: str | Path, *, normalize: bool = False) -> QuestionSet:
    """Read questions from a file; "-" is standard input, one question a line.

    Args:
        file: .tsv or .csv (question, tab, answers), .json (SQuAD's format, or retrieval results), .jsonl, or any other
            name with one question a line.
        normalize: write ’ as ' in questions, as facebookresearch/DPR does before it encodes one.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is in none of these formats; the message gives the line or the position.
    """
    file = str(file)
    if file.lower().endswith(".json"):
        found = _from_json(load_json(file), file)
    else:
        with open_text(file) as stream:
            found = QuestionSet(tuple(_from_lines(cut_lines(stream), file)))
    if not found.questions:
        raise ValueError(f"{file} holds no questions")
    for number, question in enumerate(found.questions, start=1):
        retrieved = (part or "" for passage in question.retrieved or () for part in passage[:3])
        if any(map(has_lone_surrogate, (question.text, *question.answers, *retrieved))):
            raise ValueError(f"{file}, question {number}: half a surrogate pair, which no text may hold")
    if normalize:
        return replace(found, questions=tuple(map(normalize_question, found.questions)))
    return found


def normalize_question(question: Question) -> Question:
    """Write typographic apostrophes as ', as facebookresearch/DPR does before it encodes a question.

    >>> normalize_question(Question("who wrote schindler’s list")).text
    "who wrote schindler's list"
    """
    return replace(question, text=question.text.replace("’", "'"))


def find_invalid_answers(questions: Iterable[Question]) -> Iterator[str]:
    """Yield a line of text for each answer that is no valid regular expression."""
    for number, question in enumerate(questions, start=1):
        for answer, problem in invalid_answers(question.answers):
            yield f"question {number}: the answer {answer!r} matches nothing: it is no regular expression ({problem})"


def write_retrieved(path: Path, questions: Iterable[Question], match: str = "string") -> None:
    """Write questions and their retrieval results one after another, as facebookresearch/DPR's retriever does.

    `match` is one of MATCHES, and decides `has_answer`.
    """
    with atomic_file(path) as file:
        file.write(b"[")
        for number, question in enumerate(questions):
            contains = make_matcher(question.answers, match)
            contexts = [
                {**each._asdict(), "title": each.title or "", "has_answer": contains(each.text)}
                for each in question.retrieved or ()
            ]
            value = {"question": question.text, "answers": question.answers, "ctxs": contexts}
            text = json.dumps(value, ensure_ascii=False, indent=4)
            file.write(((",\n" if number else "\n") + text).encode())
        file.write(b"\n]\n")


def _from_lines(lines: Iterable[str], file: str) -> Iterator[Question]:
    if file.lower().endswith(TABLES):
        for number, cells in valid_rows(parse_table(lines, ("question", "answers")), file):
            yield Question(cells["question"], _to_answers(parse_answers(cells["answers"]), f"{file}, line {number}"))
    elif file.lower().endswith(".jsonl"):
        for number, value in valid_rows(parse_json_lines(lines), file):
            yield _to_question(value, f"{file}, line {number}")
    else:
        yield from (Question(line.strip()) for line in check_lines(lines, file) if line.strip())


def _from_json(value: Any, file: str) -> QuestionSet:
    if isinstance(value, list):
        return QuestionSet(tuple(_to_question(each, f"{file}, question {n}") for n, each in enumerate(value, start=1)))
    squad = parse_squad(value, file)
    questions = []
    for each in squad.questions:  # one without an answer (SQuAD 2) has the empty answer
        answers = tuple(dict.fromkeys(answer.text for answer in each.answers)) or ("",)
        questions.append(Question(each.text, answers))
    return QuestionSet(tuple(questions), squad.passages, tuple(each.passage for each in squad.questions))


def _to_question(value: Any, where: str) -> Question:
    """The question of an object: `question`, `answers` or `answer`, and perhaps `ctxs`."""
    text = value.get("question") if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise ValueError(f'{where}: must be a JSON object with the string "question"')
    given = (value[name] for name in ("answers", "answer") if value.get(name) is not None)
    answers: Any = next(given, [])
    retrieved = None
    if (contexts := value.get("ctxs")) is not None:
        if not isinstance(contexts, list):
            raise ValueError(f'{where}: "ctxs" is of type {type(contexts).__name__}, and must be a list')
        retrieved = tuple(_to_retrieved(each, f"{where}, passage {n}") for n, each in enumerate(contexts, start=1))
    return Question(text, _to_answers([answers] if isinstance(answers, str) else answers, where), retrieved)


def _to_retrieved(value: Any, where: str) -> RetrievedPassage:
    fields = find_fields(tuple(value)) if isinstance(value, dict) else {}
    if isinstance(fields, str):
        raise ValueError(f"{where}: {fields}")
    key, title, text = (value[fields[field]] if field in fields else None for field in ("id", "title", "text"))
    if not isinstance(text, str) or not isinstance(title, str | None):
        raise ValueError(f'{where}: needs strings as "text" and "title"')
    try:
        score = float(0 if value.get("score") is None else value["score"])
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not math.isfinite(score):
        raise ValueError(f'{where}: "score" is {value["score"]!r:.50}, and must be a number')
    return RetrievedPassage("" if key is None else str(key), title or None, text, score)


def _to_answers(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError(f'{where}: the answers must be a list of strings, as in ["Paris", "the city of Paris"]')
    return tuple(value)
