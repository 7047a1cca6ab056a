"""Turn a reader's logits into answers that a person can read.

Spans are searched as in `decode_best_spans`, but in the passage's text only, and an answer is a piece of that text as
it was written. It is widened to whole words as in facebookresearch/DPR, since a word piece is no answer: "##speare"
becomes "Shakespeare".
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
        start: its first character in the passage's text.
        end: the character after its last one: `texts[passage][start:end] == text`.
        passage: the passage's index.
        title: the passage's title.
        relevance_score: the passage's relevance logit.
        span_score: start logit + end logit of the span.
        truncated: the passage was too long for the model, and the end of its text or of its title was not read.
        span: the span in the form of `decode_best_spans`, with token positions and decoded word pieces.
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
    """Return the answers to one question, those of the most relevant row first.

    Args:
        rows: the question's tokenized passages; several rows of one passage are windows of it.
        logits: each row's start logits (tokens,), end logits (tokens,) and relevance; padding may follow the tokens.
        titles: the passages' titles.
        texts: the passages' texts.
        decode: turns the token ids of many spans into texts.
        top_k: how many answers to return at most.
        max_answer_length: the longest span, in tokens.
        spans_per_passage: how many answers one passage may have.
    """
    answers: list[Answer] = []
    taken: dict[int, list[tuple[int, int]]] = {}
    for index in sorted(range(len(rows)), key=lambda row: -logits[row][2]):
        row, (start_logits, end_logits, relevance) = rows[index], logits[index]
        text, places = texts[row.passage], taken.setdefault(row.passage, [])
        of_text = slice(row.text_start, len(row.input_ids))
        starts, ends = start_logits[of_text], end_logits[of_text]
        for first, last in _find_distinct_spans(row, starts, ends, text, places, max_answer_length, spans_per_passage):
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


def _find_distinct_spans(
    row: PassageRow,
    starts: Logits,
    ends: Logits,
    text: str,
    places: list[tuple[int, int]],
    max_answer_length: int,
    count: int,
) -> Iterator[tuple[int, int]]:
    """Yield a row's best spans that overlap none of the passage's answers, until the passage has `count` answers.

    The characters of each yielded span are appended to `places`. Two spans may widen to the same word, so the search is
    repeated for twice as many spans until there are enough answers or no more spans.
    """
    limit, seen = count, 0
    while len(places) < count:
        spans = best_spans(starts, ends, max_answer_length, limit)
        for first, last in spans[seen:]:
            start, end = whole_words(text, int(row.offsets[first, 0]), int(row.offsets[last, 1]))
            if len(places) < count and all(end <= begin or stop <= start for begin, stop in places):
                places.append((start, end))
                yield first, last
        if len(spans) < limit:
            return
        limit, seen = 2 * limit, len(spans)


def whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """Widen a piece of text until it begins and ends at the edge of a word.

    A word is a run of letters and digits. Marks belong to the character before them, and so do format characters (soft
    hyphen, zero-width joiners), which tokenizers drop. In scripts that are written without spaces (CJK, kana, Thai) a
    piece of text is not widened.

    >>> "Shakespeare's plays"[slice(*whole_words("Shakespeare's plays", 0, 5))]
    'Shakespeare'
    """
    while 0 < start < end and _is_joined(text[start - 1], text[start]):
        start -= 1
    while start < end < len(text) and _is_joined(text[end - 1], text[end]):
        end += 1
    return start, end


def _is_joined(left: str, right: str) -> bool:
    if unicodedata.category(right)[0] == "M" or unicodedata.category(right) == "Cf":
        return True
    return _is_in_word(left) and _is_in_word(right)


def _is_in_word(character: str) -> bool:
    category = unicodedata.category(character)
    if category[0] not in "LNM" and category != "Cf":
        return False
    return not unicodedata.name(character, "").startswith(_SPACELESS)
