"""Rows, batches and loss for training the demo reader.

A question is read beside its own passage and beside a passage that does not answer it, mostly a near one of the same
article. Mostly both are cut to a window, of one length so that length tells nothing: short rows are cheap, and
another window is another example. Batches hold rows of about one length, so that little is padded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from dpr_export.runtime.corpus.squad import Squad
from scripts.demo_training.base import DPRModel, mean_pooled
from scripts.demo_training.rows import CLS, SEP, TrainingRows, batches_by_length, encode, padded, window

LONGEST = 320  # tokens of a row in training
WINDOW = (30, 120)  # tokens of a passage's text when it is cut
CUT = 0.6  # of the passages are cut
PAIRED = 0.5  # of the questions are read beside a wrong passage too
NOMINAL = 12.0  # questions in a batch, about


@dataclass(frozen=True, slots=True)
class Row:
    ids: list[int]  # [CLS] question [SEP] title [SEP] text
    start: int = -1  # of the answer, absolute; -1 where there is none
    end: int = -1  # its last token


Pair = tuple[Row] | tuple[Row, Row]  # with the answer, and without it


class ReaderRows(TrainingRows):
    """The training rows of the reader.

    `near` gives, for each question, the passages of its article from the nearest to the farthest.
    """

    def __init__(self, tokenizer: Tokenizer, squad: Squad, near: Sequence[Sequence[int]], seed: int) -> None:
        super().__init__(tokenizer, squad, seed)
        self.near = near

    def epoch(self, budget: int) -> list[list[Pair]]:
        """Batches of (with the answer, without it), each at most about `budget` tokens with its padding."""
        pairs = [self._pair(number) for number in range(len(self.questions))]
        pairs.sort(key=lambda pair: max(len(row.ids) for row in pair) + self.random.uniform(-4, 4))
        batches: list[list[Pair]] = [[]]
        for pair in pairs:
            rows = [row for earlier in [*batches[-1], pair] for row in earlier]
            if batches[-1] and len(rows) * max(len(row.ids) for row in rows) > budget:
                batches.append([])
            batches[-1].append(pair)
        self.random.shuffle(batches)
        return batches

    def _pair(self, number: int) -> Pair:
        question = self.questions[number]
        text = self.texts[question.passage]
        first, last = self.draw_answer(number)
        other = self._other(number)
        room = LONGEST - 3 - len(self.asked[number])
        room -= max(len(self.titles[question.passage]), len(self.titles[other]))
        length = min(room, len(text.ids))
        if self.random.random() < CUT:
            length = min(length, max(last - first + 1, self.random.randint(*WINDOW)))
        begin = window(self.random, len(text.ids), length, first, last)
        head = [CLS, *self.asked[number], SEP, *self.titles[question.passage], SEP]
        shift = len(head) - begin
        yes = Row(head + text.ids[begin : begin + length], first + shift, last + shift)
        if self.random.random() > PAIRED:
            return (yes,)
        far = self.texts[other].ids
        begin = self.random.randint(0, max(0, len(far) - length))
        head = [CLS, *self.asked[number], SEP, *self.titles[other], SEP]
        return yes, Row(head + far[begin : begin + length])

    def _other(self, number: int) -> int:
        """A passage that holds no answer: one of the nearest, one of the same article, or any."""
        question = self.questions[number]
        near = self.near[number]
        chance = self.random.random()
        for _ in range(20):
            if near and chance < 0.85:
                found = near[self.random.randrange(min(len(near), 6 if chance < 0.5 else len(near)))]
            else:
                found = self.random.randrange(len(self.texts))
            text = self.squad.passages[found].text.lower()
            if found != question.passage and not any(a.text.lower() in text for a in question.answers):
                return found
        return self.random.choice([i for i in range(len(self.texts)) if i != question.passage])


def nearest_passages(encoder: DPRModel, tokenizer: Tokenizer, squad: Squad) -> list[list[int]]:
    """For each question the other passages of its article, the nearest to the question first.

    Args:
        encoder: the pretrained encoder, untrained for DPR, whose mean-pooled vectors tell what is near.
    """
    held = _embed(encoder, [encode(tokenizer, passage.text).ids[:LONGEST] for passage in squad.passages])
    asked = _embed(encoder, [encode(tokenizer, question.text).ids for question in squad.questions])
    orders = (asked @ held.T).argsort(dim=1, descending=True).tolist()
    near = []
    for question, order in zip(squad.questions, orders, strict=True):
        article = squad.articles[question.passage]
        near.append([place for place in order if squad.articles[place] == article and place != question.passage])
    return near


@torch.inference_mode()
def _embed(encoder: DPRModel, rows: Sequence[list[int]]) -> torch.Tensor:
    vectors = torch.empty(len(rows), encoder.config.hidden_size)
    for numbers in batches_by_length(rows, 32):
        ids, mask = padded([[CLS, *rows[number], SEP] for number in numbers])
        with torch.autocast("cpu", torch.bfloat16):
            vectors[numbers] = mean_pooled(encoder, ids, mask).float()
    return vectors


def reader_loss(model: torch.nn.Module, batch: Sequence[Pair]) -> torch.Tensor:
    """Cross-entropy of the answer's first and last token, plus that of the right passage of each pair.

    Spans compete over the title and the text, since a reader's spans may come from either.
    """
    rights = [pair[0] for pair in batch]
    rows = rights + [pair[1] for pair in batch if len(pair) == 2]
    paired = torch.tensor([number for number, pair in enumerate(batch) if len(pair) == 2], dtype=torch.long)
    ids, mask = padded([row.ids for row in rows])
    output = model(input_ids=ids, attention_mask=mask)
    barred = mask[: len(rights)] == 0
    for number, row in enumerate(rights):
        barred[number, : row.ids.index(SEP)] = True
    total = torch.zeros(())
    for logits, gold in (
        (output.start_logits, [row.start for row in rights]),
        (output.end_logits, [row.end for row in rights]),
    ):
        competing = logits[: len(rights)].float().masked_fill(barred, -1e4)
        total = total + torch.nn.functional.cross_entropy(competing, torch.tensor(gold), reduction="sum") / 2
    relevance = output.relevance_logits.float()
    total = total + torch.nn.functional.softplus(relevance[len(rights) :] - relevance[paired]).sum()
    return total / NOMINAL
