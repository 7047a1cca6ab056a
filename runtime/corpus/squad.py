"""Read questions, answers and paragraphs in the format of SQuAD's JSON (1.1, 2.0, XQuAD)."""

from pathlib import Path
from typing import Any, NamedTuple

from dpr_export.runtime.corpus.passages import Passage
from dpr_export.runtime.corpus.text_files import load_json


class SquadAnswer(NamedTuple):
    """An answer: its text, and where it begins in its paragraph, in characters (None if the file does not say)."""

    text: str
    start: int | None


class SquadQuestion(NamedTuple):
    """A question, the position of its paragraph in `Squad.passages`, and its answers (none: SQuAD 2)."""

    text: str
    passage: int
    answers: tuple[SquadAnswer, ...]


class Squad(NamedTuple):
    """A file in SQuAD's format."""

    passages: tuple[Passage, ...]  # the paragraphs; titles have spaces where the file has underscores
    articles: tuple[int, ...]  # the number of the article that each paragraph belongs to
    questions: tuple[SquadQuestion, ...]

    def answerable(self) -> "Squad":
        """The same without the questions that have no answer."""
        return self._replace(questions=tuple(question for question in self.questions if question.answers))


def read_squad(file: str | Path) -> Squad:
    """Read a file; one that is not in SQuAD's format is a ValueError."""
    return parse_squad(load_json(file), file)


def parse_squad(value: Any, file: str | Path) -> Squad:
    """Convert a JSON value in SQuAD's format; `file` is named in errors."""
    passages: list[Passage] = []
    articles: list[int] = []
    questions: list[SquadQuestion] = []
    try:
        for number, article in enumerate(value["data"]):
            for paragraph in article["paragraphs"]:
                for each in paragraph["qas"]:
                    answers = tuple(SquadAnswer(a["text"] + "", a.get("answer_start")) for a in each["answers"])
                    questions.append(SquadQuestion(each["question"] + "", len(passages), answers))
                title = article.get("title", "").replace("_", " ")
                passages.append(Passage(str(len(passages)), title or None, paragraph["context"] + ""))
                articles.append(number)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} is not in SQuAD's format: {type(error).__name__} {error} in question {len(questions) + 1}"
        ) from None
    return Squad(tuple(passages), tuple(articles), tuple(questions))
