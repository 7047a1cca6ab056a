"""Rows, batches and loss for training the demo encoders.

all-MiniLM-L6-v2 already finds passages well, but by the mean over its tokens, and DPR reads the [CLS] token alone. So
each student's [CLS] learns to point where the mean of the untouched encoder points, for questions, passages and pieces
of both, and beside that the usual in-batch negatives teach what a question asks of a passage.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from scripts.demo_training.base import DPRModel, mean_pooled
from scripts.demo_training.rows import CLS, SEP, TrainingRows, padded, window

LONGEST = 200  # tokens of a passage's text
WINDOW = (30, 110)  # tokens of it when it is cut
PHRASE = (6, 24)  # tokens of the piece of a passage that the question encoder sees
CUT = 0.7  # of the batches hold passages cut to one length, so that little is padded
CHUNK = 12  # questions of one article in a batch; a batch holds two articles
SCALE = 1 / 3  # of inner products in the softmax: a [CLS] has a squared length of about 60, and 20 cosines is usual
FOLLOW = 10.0  # the weight of following the teacher


@dataclass(frozen=True, slots=True)
class Example:
    passage: int
    question: list[int]  # tokens, without specials
    phrase: list[int]
    title: list[int]
    text: list[int]


class EncoderRows(TrainingRows):
    """The training rows of the encoders."""

    def epoch(self) -> list[list[Example]]:
        """Batches of two articles each, since the passages of one article are each other's hard negatives."""
        by_article: dict[int, list[int]] = {}
        for number, question in enumerate(self.questions):
            by_article.setdefault(self.squad.articles[question.passage], []).append(number)
        chunks = []
        for numbers in by_article.values():
            self.random.shuffle(numbers)
            chunks += [numbers[begin : begin + CHUNK] for begin in range(0, len(numbers), CHUNK)]
        self.random.shuffle(chunks)
        halves = [chunks[begin : begin + 2] for begin in range(0, len(chunks), 2)]
        return [self._batch([number for chunk in half for number in chunk]) for half in halves]

    def _batch(self, numbers: Sequence[int]) -> list[Example]:
        longest = self.random.randint(*WINDOW) if self.random.random() < CUT else LONGEST
        return [self._example(number, longest) for number in numbers]

    def _example(self, number: int, longest: int) -> Example:
        question = self.questions[number]
        text = self.texts[question.passage]
        first, last = self.draw_answer(number)
        length = min(len(text.ids), max(last - first + 1, longest))
        begin = window(self.random, len(text.ids), length, first, last)
        phrase = self.random.randrange(len(text.ids))
        return Example(
            question.passage,
            self.asked[number],
            text.ids[phrase : phrase + self.random.randint(*PHRASE)],
            self.titles[question.passage],
            text.ids[begin : begin + length],
        )


def encoders_loss(
    teacher: DPRModel, asking: torch.nn.Module, holding: torch.nn.Module, batch: Sequence[Example]
) -> torch.Tensor:
    """The cosine distance of both students to the teacher, plus the cross-entropy of the right passage in the batch."""
    short = [example.question for example in batch] + [example.phrase for example in batch]
    ids, mask = padded([[CLS, *row, SEP] for row in short])
    questions = asking(input_ids=ids, attention_mask=mask).pooler_output.float()
    with torch.no_grad():
        wanted = mean_pooled(teacher, ids, mask).float()
    follow = 1 - torch.cosine_similarity(questions, wanted).mean()

    ids, mask = padded([[CLS, *each.title, *each.text, SEP] for each in batch])
    with torch.no_grad():
        wanted = mean_pooled(teacher, ids, mask).float()
    ids, mask = padded([[CLS, *each.title, SEP, *each.text, SEP] for each in batch])
    types, _ = padded([[0] * (len(each.title) + 2) + [1] * (len(each.text) + 1) for each in batch])
    passages = holding(input_ids=ids, attention_mask=mask, token_type_ids=types).pooler_output.float()
    follow = follow + 1 - torch.cosine_similarity(passages, wanted).mean()

    scores = SCALE * questions[: len(batch)] @ passages.T
    places = torch.tensor([each.passage for each in batch])
    twins = (places[:, None] == places[None, :]) & ~torch.eye(len(batch), dtype=torch.bool)
    chosen = torch.nn.functional.cross_entropy(scores.masked_fill(twins, -1e4), torch.arange(len(batch)))
    return FOLLOW * follow + chosen
