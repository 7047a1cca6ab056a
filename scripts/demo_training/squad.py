"""Read SQuAD-format JSON, and score answers as SQuAD does.

The format is articles of paragraphs of questions; here it becomes two flat lists, because a reader wants pairs of
question and passage and an encoder wants every passage once. Questions without an answer (SQuAD 2.0) are left out.
"""

import json
import re
import string
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class Passage:
    title: str  # spaces where the file has Wikipedia's underscores
    text: str
    article: int  # passages of one article share it


@dataclass(frozen=True, slots=True)
class Answer:
    start: int  # in characters of the passage's text
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    passage: int  # where its passage stands in the list
    answers: tuple[Answer, ...]


def read_squad(path: Path) -> tuple[list[Passage], list[Question]]:
    """Read a file in SQuAD's format.

    Args:
        path: the JSON file, SQuAD 1.1, 2.0 or XQuAD.

    Returns:
        The passages, and the questions that have an answer.
    """
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    passages: list[Passage] = []
    questions: list[Question] = []
    for number, article in enumerate(articles):
        title = article.get("title", "").replace("_", " ")
        for paragraph in article["paragraphs"]:
            for entry in paragraph["qas"]:
                answers = tuple(Answer(found["answer_start"], found["text"]) for found in entry["answers"])
                if answers:
                    questions.append(Question(entry["question"].strip(), len(passages), answers))
            passages.append(Passage(title, paragraph["context"], number))
    return passages, questions


def normalize(answer: str) -> str:
    """Lower case, no punctuation, no articles, one space between words.

    >>> normalize("The  Eiffel Tower!")
    'eiffel tower'
    """
    return " ".join(ARTICLES.sub(" ", answer.lower().translate(PUNCTUATION)).split())


def exact_match(answer: str, golds: Iterable[str]) -> bool:
    """Whether the normalized answer is one of the normalized golds.

    >>> exact_match("the Eiffel Tower", ["Eiffel tower."])
    True
    """
    return normalize(answer) in {normalize(gold) for gold in golds}


def f1(answer: str, golds: Iterable[str]) -> float:
    """The overlap of words between the answer and the gold that it meets best, 0 to 1.

    >>> f1("in the summer of 1889", ["1889", "summer 1889"])  # 2 words shared, of 4 and of 2
    0.6666666666666666
    """
    return max((_overlap(normalize(answer).split(), normalize(gold).split()) for gold in golds), default=0.0)


def _overlap(answer: list[str], gold: list[str]) -> float:
    if not answer or not gold:
        return float(answer == gold)
    shared = sum((Counter(answer) & Counter(gold)).values())
    return 2 * shared / (len(answer) + len(gold))
