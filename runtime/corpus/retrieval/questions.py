"""Read questions with their answers from the files that people have, and write what was found for them.

The first DPR code's questions are a table, `question TAB ["answer", ...]`; what its retriever found is JSON, a list of
{question, answers, ctxs: [{id, title, text, score, has_answer}]}.
"""

import ast
import csv
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from dpr_export.models.artifact.atomic_writing import atomic_file
from dpr_export.models.artifact.records import half_surrogates
from dpr_export.runtime.corpus.corpus_files import Row
from dpr_export.runtime.corpus.retrieval.answer_matching import has_answer
from dpr_export.runtime.corpus.text_files import json_objects, opened

TABLES = (".tsv", ".csv")


class Found(NamedTuple):
    """A passage that was found, and its score."""

    id: str
    title: str | None
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Question:
    """A question.

    Attributes:
        text: the question.
        answers: the right answers; empty where they are not known.
        found: the passages that a retriever found, the best first; None where none has looked.
    """

    text: str
    answers: tuple[str, ...] = ()
    found: tuple[Found, ...] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions of a file, with the passages that it holds itself.

    Attributes:
        questions: the questions.
        passages: the passages of the file; empty where it has none.
        own: the place in `passages` of each question's own; empty where it has none.
    """

    questions: tuple[Question, ...]
    passages: tuple[Row, ...] = ()
    own: tuple[int, ...] = ()


def read_questions(file: str | Path) -> Asked:
    """Read questions: .tsv or .csv (question, tab, answers), .json (SQuAD's, or a retriever's), .jsonl, or one a line.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is none of these; the message gives the line or the place.
    """
    file = str(file)
    name = file.lower()
    with opened(file) as lines:
        if name.endswith(".json"):
            asked = _json(_loaded(lines, file), file)
        elif name.endswith(TABLES):
            asked = Asked(tuple(_table(lines, file)))
        elif name.endswith(".jsonl"):
            asked = Asked(tuple(_object(v, f"{file}, line {n}") for n, v in json_objects(lines, file)))
        else:
            asked = Asked(tuple(Question(line.strip()) for line in lines if line.strip()))
    if not asked.questions:
        raise ValueError(f"{file} holds no questions")
    for place, question in enumerate(asked.questions, start=1):
        texts = (question.text, *question.answers, *(part or "" for each in question.found or () for part in each[:3]))
        if any(map(half_surrogates, texts)):
            raise ValueError(f"{file}, question {place}, holds half a surrogate pair, which no text may")
    return asked


def write_found(path: Path, questions: Iterable[Question]) -> None:
    """Write questions and what was found for them, as the first code's retriever does, one after another."""
    with atomic_file(path) as file:
        file.write(b"[")
        for place, question in enumerate(questions):
            value = json.dumps(as_result(question), ensure_ascii=False, indent=4)
            file.write(((",\n" if place else "\n") + value).encode())
        file.write(b"\n]\n")


def as_result(question: Question) -> dict[str, Any]:
    """A question as the first code's retriever writes it."""
    contexts = [
        {**each._asdict(), "title": each.title or "", "has_answer": has_answer(each.text, question.answers)}
        for each in question.found or ()
    ]
    return {"question": question.text, "answers": list(question.answers), "ctxs": contexts}


def _table(lines: Any, file: str) -> list[Question]:
    questions: list[Question] = []
    reader = csv.reader(lines, delimiter="\t")
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise ValueError(f"{file}, line {reader.line_num}, is no row of a table: {error}") from None
        if cells is None:
            return questions
        if not cells:
            continue
        where = f"{file}, line {reader.line_num},"
        if len(cells) != 2:
            raise ValueError(f'{where} has {len(cells)} columns, and needs two: question and ["answer", ...]')
        answers: Any = None
        with suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            answers = ast.literal_eval(cells[1])
        questions.append(Question(cells[0], _answers(answers, where)))


def _object(value: dict[str, Any], where: str) -> Question:
    """A question of an object: `question`, `answers` or `answer`, and maybe `ctxs`."""
    text = value.get("question")
    if not isinstance(text, str):
        raise ValueError(f'{where} needs the string "question"')
    answers = value.get("answers", value.get("answer", []))
    found = None
    if (contexts := value.get("ctxs")) is not None:
        if not isinstance(contexts, list):
            raise ValueError(f'{where}: "ctxs" is of type {type(contexts).__name__}, and must be a list')
        found = tuple(_found(context, f"{where}, passage {place}") for place, context in enumerate(contexts, start=1))
    return Question(text, _answers([answers] if isinstance(answers, str) else answers, where), found)


def _found(value: Any, where: str) -> Found:
    try:
        key, title, text, score = value.get("id", ""), value.get("title"), value["text"], float(value.get("score", 0))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise ValueError(f'{where}, needs the string "text", and a number as "score" if it has one') from None
    if not isinstance(text, str) or not isinstance(title, str | None):
        raise ValueError(f'{where}, needs strings as "text" and "title"')
    return Found(str(key), title or None, text, score)


def _answers(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{where} needs the answers as a list of strings")
    return tuple(value)


def _loaded(lines: TextIO, file: str) -> Any:
    try:
        return json.load(lines)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from None


def _json(value: Any, file: str) -> Asked:
    if isinstance(value, list):
        places = [f"{file}, question {place}" for place in range(1, len(value) + 1)]
        if lost := [place for place, each in zip(places, value, strict=True) if not isinstance(each, dict)]:
            raise ValueError(f"{lost[0]}, is no JSON object")
        return Asked(tuple(_object(each, where) for each, where in zip(value, places, strict=True)))
    return _squad(value, file)


def _squad(value: Any, file: str) -> Asked:
    """SQuAD's articles, paragraphs and questions. One without an answer (version 2) has the empty answer."""
    questions: list[Question] = []
    passages: list[Row] = []
    own: list[int] = []
    try:
        for article in value["data"]:
            for paragraph in article["paragraphs"]:
                title, text = article.get("title", ""), paragraph["context"]
                passages.append(Row(str(len(passages)), title.replace("_", " ") or None, text + ""))
                for each in paragraph["qas"]:
                    right = tuple(dict.fromkeys(answer["text"] + "" for answer in each["answers"])) or ("",)
                    questions.append(Question(each["question"] + "", right))
                    own.append(len(passages) - 1)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} is neither SQuAD's JSON nor a retriever's: {type(error).__name__} {error} in question "
            f"{len(questions) + 1}"
        ) from None
    return Asked(tuple(questions), tuple(passages), tuple(own))
