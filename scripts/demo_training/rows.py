"""Turn texts into rows of tokens, for training and measuring."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from tokenizers import Tokenizer

from dpr_export.runtime.corpus.squad import Squad

CLS, SEP, PAD = 101, 102, 0  # of bert-base-uncased's vocabulary


@dataclass(frozen=True, slots=True)
class Encoded:
    ids: list[int]  # without special tokens
    offsets: list[tuple[int, int]]  # of each token, in characters

    def tokens_of(self, start: int, end: int) -> tuple[int, int]:
        """The first and last token of the characters from `start` up to `end`.

        >>> Encoded([7, 8, 9], [(0, 3), (4, 6), (6, 7)]).tokens_of(4, 7)
        (1, 2)
        """
        inside = [number for number, (first, last) in enumerate(self.offsets) if first < end and last > start]
        return inside[0], inside[-1]


def encode(tokenizer: Tokenizer, text: str) -> Encoded:
    """A text's tokens, with no special ones around them."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return Encoded(encoding.ids, encoding.offsets)


class TrainingRows:
    """The questions and passages of a file in SQuAD's format, as tokens; every question has an answer."""

    def __init__(self, tokenizer: Tokenizer, squad: Squad, seed: int) -> None:
        self.squad, self.questions = squad, squad.questions
        self.texts = [encode(tokenizer, passage.text) for passage in squad.passages]
        self.titles = [encode(tokenizer, passage.title or "").ids for passage in squad.passages]
        self.asked = [encode(tokenizer, question.text).ids for question in squad.questions]
        self.random = Random(seed)

    def draw_answer(self, number: int) -> tuple[int, int]:
        """The first and last token of one of a question's answers, in the text of its passage."""
        question = self.questions[number]
        answer = self.random.choice(question.answers)
        return self.texts[question.passage].tokens_of(answer.start, answer.start + len(answer.text))


def window(chance: Random, tokens: int, length: int, first: int, last: int) -> int:
    """Where a window of `length` of a text's tokens begins, drawn among those that hold the tokens first to last.

    >>> window(Random(0), tokens=9, length=3, first=5, last=7)
    5
    """
    low, high = max(0, last + 1 - length), min(first, tokens - length)
    return chance.randint(min(low, high), high)


def batches_by_length(rows: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """The numbers of the rows in batches of at most `size`, the shortest rows first.

    >>> list(batches_by_length([[1, 2, 3], [4], [5, 6]], size=2))
    [[1, 2], [0]]
    """
    order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
    for begin in range(0, len(order), size):
        yield order[begin : begin + size]


def padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of ids as (ids, mask), both (rows, longest).

    >>> padded([[5, 6], [7]])[0].tolist()
    [[5, 6], [7, 0]]
    """
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask
