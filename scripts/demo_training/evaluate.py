"""Measure the demo checkpoints on a SQuAD-format file, in PyTorch and float32.

    python -m scripts.demo_training.evaluate reader|encoders SQUAD.json

The reader's answer is the best span of at most 20 tokens in the text of the question's own passage, cut out of it by
the tokens' offsets and scored as SQuAD does. Its relevance is measured among that passage and four others of the same
article. The encoders look for each question's passage among all passages of the file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from tokenizers import Tokenizer

from dpr_export.exporter.demo.checkpoint import ADAPTERS
from dpr_export.runtime.corpus.evaluation.squad_metrics import best_score, exact_match, f1
from dpr_export.runtime.corpus.passages import Passage
from dpr_export.runtime.corpus.squad import Squad, read_squad
from scripts.demo_training.base import DPRModel, base_tokenizer, merged_model
from scripts.demo_training.rows import CLS, SEP, batches_by_length, encode, padded

LONGEST = 512  # tokens of a row
LONGEST_ANSWER = 20  # tokens
OTHERS = 4  # passages of the same article beside the right one
BATCH = 16

Rows = Sequence[tuple[list[int], list[int]]]  # ids and token types
app = typer.Typer(add_completion=False, help="Measure the demo checkpoints on a SQuAD-format file.")
File = Annotated[Path, typer.Argument(help="A file in SQuAD's format.", exists=True, dir_okay=False)]
Folder = Annotated[Path, typer.Option(help="The folder that holds the adapters' folders.")]


@dataclass(frozen=True, slots=True)
class Reading:
    answer: str
    relevance: float


@dataclass(frozen=True, slots=True)
class ReaderFigures:
    exact: float  # the share of questions, 0 to 1, from their own passage
    f1: float
    first: float  # the share whose own passage is the most relevant of five
    exact_of_first: float  # exact match of the answer from the most relevant of five


@dataclass(frozen=True, slots=True)
class EncoderFigures:
    top1: float
    top5: float


def best_span(starts: torch.Tensor, ends: torch.Tensor, longest: int = LONGEST_ANSWER) -> tuple[int, int]:
    """The first and last position of the best span, both (sequence,) logits.

    >>> best_span(torch.tensor([0.0, 3.0, 1.0]), torch.tensor([4.0, 1.0, 2.0]))
    (1, 2)
    """
    scores = starts[:, None] + ends[None, :]
    allowed = torch.ones_like(scores, dtype=torch.bool).triu().tril(longest - 1)
    first, last = divmod(int(scores.masked_fill(~allowed, -torch.inf).argmax()), len(starts))
    return first, last


@torch.inference_mode()
def read(
    model: DPRModel, tokenizer: Tokenizer, pairs: Sequence[tuple[str, Passage]], batch_size: int = BATCH
) -> list[Reading]:
    """The best answer of every (question, passage), and how relevant the passage looks."""
    readings: dict[int, Reading] = {}
    rows, texts, offsets = [], [], []
    for question, passage in pairs:
        text = encode(tokenizer, passage.text)
        head = [CLS, *encode(tokenizer, question).ids, SEP, *encode(tokenizer, passage.title or "").ids, SEP]
        rows.append((head + text.ids)[:LONGEST])
        texts.append(len(head))
        offsets.append(text.offsets)
    for numbers in batches_by_length(rows, batch_size):
        ids, mask = padded([rows[number] for number in numbers])
        output = model(input_ids=ids, attention_mask=mask)
        for place, number in enumerate(numbers):
            inside = slice(texts[number], len(rows[number]))
            first, last = best_span(output.start_logits[place, inside], output.end_logits[place, inside])
            begins, ends = offsets[number][first][0], offsets[number][last][1]
            answer = pairs[number][1].text[begins:ends]
            readings[number] = Reading(answer, float(output.relevance_logits[place]))
    return [readings[number] for number in range(len(pairs))]


def reader_figures(model: DPRModel, tokenizer: Tokenizer, squad: Squad) -> ReaderFigures:
    """Exact match, F1 and relevance of a reader over all questions."""
    pairs, owners = [], []
    for number, question in enumerate(squad.questions):
        article = squad.articles[question.passage]
        others = [i for i, other in enumerate(squad.articles) if other == article and i != question.passage]
        for place in [question.passage, *others[:OTHERS]]:
            pairs.append((question.text, squad.passages[place]))
            owners.append(number)
    found: list[list[Reading]] = [[] for _ in squad.questions]
    for owner, reading in zip(owners, read(model, tokenizer, pairs), strict=True):
        found[owner].append(reading)
    exact, overlap, first, exact_of_first = 0.0, 0.0, 0.0, 0.0
    for question, readings in zip(squad.questions, found, strict=True):
        golds = [answer.text for answer in question.answers]
        best = max(readings, key=lambda reading: reading.relevance)
        exact += best_score(exact_match, readings[0].answer, golds)
        overlap += best_score(f1, readings[0].answer, golds)
        first += best is readings[0]
        exact_of_first += best_score(exact_match, best.answer, golds)
    count = len(squad.questions)
    return ReaderFigures(exact / count, overlap / count, first / count, exact_of_first / count)


@torch.inference_mode()
def vectors(model: DPRModel, rows: Rows) -> torch.Tensor:
    """What an encoder gives for rows of (ids, token types): (rows, 384)."""
    result = torch.empty(len(rows), model.config.hidden_size)
    for numbers in batches_by_length([ids for ids, _ in rows], BATCH):
        ids, mask = padded([rows[number][0][:LONGEST] for number in numbers])
        types, _ = padded([rows[number][1][:LONGEST] for number in numbers])
        result[numbers] = model(input_ids=ids, attention_mask=mask, token_type_ids=types).pooler_output
    return result


def encoder_rows(tokenizer: Tokenizer, squad: Squad) -> list[Rows]:
    """The rows of all questions, and of all passages."""
    passages = [(passage.title or "", passage.text) for passage in squad.passages]
    texts = ([question.text for question in squad.questions], passages)
    return [[(row.ids, row.type_ids) for row in tokenizer.encode_batch(each)] for each in texts]


def count_better(models: Sequence[DPRModel], rows: Sequence[Rows], squad: Squad) -> torch.Tensor:
    """How many passages have a larger inner product with each question than its own passage has: (questions,)."""
    questions, passages = map(vectors, models, rows)
    scores = questions @ passages.T
    right = scores.gather(1, torch.tensor([[question.passage] for question in squad.questions]))
    return (scores > right).sum(dim=1)


def encoder_figures(asking: DPRModel, holding: DPRModel, tokenizer: Tokenizer, squad: Squad) -> EncoderFigures:
    """How often a question's passage has the largest, or one of the five largest, inner products of all."""
    better = count_better((asking, holding), encoder_rows(tokenizer, squad), squad)
    return EncoderFigures(float((better == 0).float().mean()), float((better < 5).float().mean()))


@app.command()
def reader(file: File, adapters: Folder = ADAPTERS) -> None:
    """Exact match, F1 and relevance of the demo reader."""
    squad = read_squad(file).answerable()
    figures = reader_figures(merged_model("reader", adapters), base_tokenizer("reader"), squad)
    print(f"{len(squad.questions)} questions, {len(squad.passages)} passages")
    print(f"exact match              {figures.exact:6.1%}   from the question's own passage")
    print(f"F1                       {figures.f1:6.1%}")
    print(f"own passage ranked first {figures.first:6.1%}   among it and {OTHERS} others of its article")
    print(f"exact match of the first {figures.exact_of_first:6.1%}   from the passage ranked first")


@app.command()
def encoders(file: File, adapters: Folder = ADAPTERS) -> None:
    """Top-1 and top-5 of the demo encoders."""
    squad = read_squad(file).answerable()
    asking, holding = merged_model("question", adapters), merged_model("context", adapters)
    figures = encoder_figures(asking, holding, base_tokenizer("question"), squad)
    print(f"{len(squad.questions)} questions, {len(squad.passages)} passages")
    print(f"top-1 {figures.top1:6.1%}")
    print(f"top-5 {figures.top5:6.1%}")


if __name__ == "__main__":
    app()
