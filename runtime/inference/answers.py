"""From a reader's logits to answers that a person can read.

The span search is that of `decode_best_spans`; what differs is where it looks (the passage text alone) and what it
gives (a piece of the passage as written). Widening to whole words follows the first DPR code's reader, which does it
because a word piece is never an answer: ("##speare", "Shakespeare").
"""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.outputs import DPRSpanPrediction
from dpr_export.models.spans import best_spans
from dpr_export.models.tokenization.reader_tokenizer import PassageRow

Logits = NDArray[np.float32]

_SPACELESS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        text: the answer, as it stands in the passage.
        start: where it begins there, in characters.
        end: where it ends, so that `texts[passage][start:end] == text`.
        passage: the passage's index.
        title: the passage's title.
        relevance_score: how likely the passage is to hold the answer.
        span_score: start logit + end logit of the span.
        truncated: the passage was longer than the model reads, and its end was not looked at.
        span: the span as `decode_best_spans` would give it, with token positions and decoded word pieces.
    """

    text: str
    start: int
    end: int
    passage: int
    title: str
    relevance_score: float
    span_score: float
    truncated: bool
    span: DPRSpanPrediction


def best_answers(
    rows: Sequence[PassageRow],
    logits: Sequence[tuple[Logits, Logits, float]],
    titles: Sequence[str],
    texts: Sequence[str],
    *,
    decode: Callable[[list[list[int]]], list[str]],
    top_k: int,
    max_answer_length: int,
    spans_per_passage: int,
) -> list[Answer]:
    """The answers of one question's rows, the most relevant row's first.

    Args:
        rows: the question's passages as tokenized; several rows of one passage are windows of it.
        logits: each row's start logits (tokens,), end logits (tokens,) and relevance.
        titles: the passages' titles.
        texts: the passages' texts.
        decode: token ids to text, for many spans at once.
        top_k: how many answers to give at most.
        max_answer_length: the longest span, in tokens.
        spans_per_passage: how many answers one passage may give.
    """
    answers: list[Answer] = []
    taken: dict[int, list[tuple[int, int]]] = {}
    for index in sorted(range(len(rows)), key=lambda row: -logits[row][2]):
        row, (start_logits, end_logits, relevance) = rows[index], logits[index]
        text, places = texts[row.passage], taken.setdefault(row.passage, [])
        starts, ends = start_logits[row.text_start :], end_logits[row.text_start :]
        for first, last in _spans_apart(row, starts, ends, text, places, max_answer_length, spans_per_passage):
            start, end = places[-1]
            begin, stop = row.text_start + first, row.text_start + last
            score = float(start_logits[begin] + end_logits[stop])
            decoded = decode([list(row.input_ids[begin : stop + 1])])[0]
            span = DPRSpanPrediction(score, relevance, row.passage, begin, stop, decoded)
            title = titles[row.passage]
            answers.append(
                Answer(text[start:end], start, end, row.passage, title, relevance, score, row.truncated, span)
            )
            if len(answers) == top_k:
                return answers
    return answers


def _spans_apart(
    row: PassageRow,
    starts: Logits,
    ends: Logits,
    text: str,
    places: list[tuple[int, int]],
    max_answer_length: int,
    count: int,
) -> Iterator[tuple[int, int]]:
    """Yield a row's best spans whose whole words overlap no place of the passage that is taken, until `count` are.

    Each span's place is added to `places`. Two spans apart may widen to the same word, so more are asked for than are
    wanted, and twice as many again until there are no more.
    """
    wanted, seen = count, 0
    while len(places) < count:
        spans = best_spans(starts, ends, max_answer_length, wanted)
        for first, last in spans[seen:]:
            start, end = whole_words(text, int(row.offsets[first, 0]), int(row.offsets[last, 1]))
            if len(places) < count and all(end <= begin or stop <= start for begin, stop in places):
                places.append((start, end))
                yield first, last
        if len(spans) < wanted:
            return
        wanted, seen = 2 * wanted, len(spans)


def whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """Widen a piece of text until it begins and ends at the edge of a word.

    A word is a run of letters and digits. Marks belong to the character before them, and so do the characters that
    only say how to join or break a word (soft hyphen, zero-width joiners), which tokenizers drop. Scripts written
    without spaces have no edges to find, so their letters (CJK, kana, Thai) are left as they are.

    >>> "Shakespeare's plays"[slice(*whole_words("Shakespeare's plays", 0, 5))]
    'Shakespeare'
    """
    while 0 < start < end and _joined(text[start - 1], text[start]):
        start -= 1
    while start < end < len(text) and _joined(text[end - 1], text[end]):
        end += 1
    return start, end


def _joined(left: str, right: str) -> bool:
    if unicodedata.category(right)[0] == "M" or unicodedata.category(right) == "Cf":
        return True
    return _in_word(left) and _in_word(right)


def _in_word(character: str) -> bool:
    category = unicodedata.category(character)
    if category[0] not in "LNM" and category != "Cf":
        return False
    return not unicodedata.name(character, "").startswith(_SPACELESS)
