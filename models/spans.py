"""Find the best answer spans: those the original finds, without scoring and sorting all of them.

A span (i, j) has 0 <= j - i < max_answer_length and scores start[i] + end[j]. Spans are taken best first; one that
contains, equals or lies within a taken one is dropped. A passage of 256 tokens has some 14,000 spans, of which about
four are wanted, so two facts are put to use:

- For a given i the best end is the largest end logit in a window. The window maxima take one pass, and after it there
  is one score for each i to look at, not one for each span.
- When (a, b) is taken, what may still be taken begins and ends before it (i < a, j < b), or begins and ends after it
  (i > a, j > b). So the passage falls into two gaps, each a smaller passage of its own, and only the windows that
  reached over the border change: fewer than max_answer_length on either side.

Ties go to the smaller i, then to the smaller j. Rounding makes more ties than equal logits do, in float16 above all,
so j is the first one whose *rounded sum* is the best, not the place of the largest end logit.

All passages at once, in matrices, was measured too: 100 passages take 1 ms instead of 3.5, but a single one 0.19 ms
instead of 0.04, and few passages are the common call.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpr_export.models.outputs import DPRSpanPrediction
from dpr_export.models.torch_interop import to_numpy

Floats = NDArray[np.floating[Any]]
Gap = tuple[int, int, int, int]  # spans begin in the first two, end in the last two, all inclusive


def best_spans(
    start_logits: ArrayLike, end_logits: ArrayLike, max_answer_length: int, num_spans: int
) -> list[tuple[int, int]]:
    """The best spans of one passage, best first.

    Args:
        start_logits: float (tokens,), of the passage alone: no question, no padding. May be empty.
        end_logits: float (tokens,).
        max_answer_length: the most tokens a span may have, at least 1.
        num_spans: the most spans to return, at least 1; fewer come back where there are no more.

    Returns:
        Pairs (first token, last token), both inclusive, counted from the beginning of the logits.

    Raises:
        ValueError: a NaN, logits that differ in length or have more than one axis, a bound below 1.

    >>> best_spans([0.0, 3.0, 0.0, 1.0], [0.0, 1.0, 2.0, 0.5], max_answer_length=2, num_spans=3)
    [(1, 2), (3, 3), (0, 1)]
    """
    _refuse_below_one(max_answer_length=max_answer_length, num_spans=num_spans)
    start, end = _vector("start_logits", start_logits), _vector("end_logits", end_logits)
    if len(start) != len(end):
        raise ValueError(f"start_logits has {len(start)} entries, but end_logits has {len(end)}")
    with np.errstate(over="ignore", invalid="ignore"):
        return _search(start, end, max_answer_length, num_spans)


def decode_best_spans(
    input_ids: Any,
    reader_output: Any,
    *,
    sep_token_id: int,
    pad_token_id: int,
    decode: Callable[[list[list[int]]], list[str]],
    num_spans: int = 16,
    max_answer_length: int = 64,
    num_spans_per_passage: int = 4,
) -> list[DPRSpanPrediction]:
    """The best spans of the most relevant passages, as the original's `decode_best_spans` returns them.

    Passages come by falling relevance (ties: the first one first), each with its spans best first, until `num_spans`
    are found; later passages are not worked on. A passage begins after the question's [SEP], as it does in the
    original, so a span may come from its title or reach over the [SEP] that follows.

    Args:
        input_ids: int (passages, tokens). It and the logits may be lists (ragged too), arrays, torch tensors.
        reader_output: anything whose first three items are the start and the end logits, float (passages, tokens),
            and the relevance logits, float (passages,).
        sep_token_id, pad_token_id: ids of [SEP] and [PAD]; a row that ends with [PAD] ends before its first one.
        decode: turns the ids of many spans into texts; called once.
        num_spans, num_spans_per_passage: the most spans to return, in all and of one passage, at least 1.
        max_answer_length: the most tokens a span may have, at least 1.

    Returns:
        Spans whose indices count from the row's beginning. Scores are of the type that the logits hold.

    Raises:
        ValueError: a NaN in the logits, a row missing in one of the inputs, a bound below 1; among passages worked on,
            a row without its second [SEP], or start and end logits that differ in length.

    >>> output = [[0.0, 0.0, 0.0, 2.0, 1.0]], [[0.0, 0.0, 0.0, 1.0, 2.0]], [0.5]
    >>> spans = decode_best_spans([[101, 7, 102, 8, 9]], output, sep_token_id=102, pad_token_id=0,
    ...                           decode=lambda spans: [str(ids) for ids in spans])
    >>> spans[0].span_score, spans[0].start_index, spans[0].end_index, spans[0].text
    (4.0, 3, 4, '[8, 9]')
    """
    _refuse_below_one(num_spans=num_spans, num_spans_per_passage=num_spans_per_passage)
    _refuse_below_one(max_answer_length=max_answer_length)
    starts, ends, relevances = reader_output[:3]
    relevance = _vector("relevance_logits", relevances)
    order = sorted(range(len(relevance)), key=relevance.tolist().__getitem__, reverse=True)
    for name, rows in ("input_ids", input_ids), ("start_logits", starts), ("end_logits", ends):
        if len(rows) < len(order):
            raise ValueError(f"{name} has {len(rows)} rows, but relevance_logits has {len(order)}")
    start_rows = _rows("start_logits", starts, len(order))
    end_rows = _rows("end_logits", ends, len(order))
    found: list[tuple[int, int, int]] = []
    span_ids: list[list[int]] = []
    with np.errstate(over="ignore", invalid="ignore"):
        for doc in order:
            row = input_ids[doc]
            ids = row.tolist() if hasattr(row, "tolist") else list(row)
            first, stop = _passage_bounds(doc, ids, sep_token_id, pad_token_id)
            start, end = start_rows[doc][first:stop], end_rows[doc][first:stop]
            if len(start) != len(end):
                raise ValueError(f"start_logits[{doc}] is {len(start)} long in the text, end_logits[{doc}] {len(end)}")
            limit = min(num_spans_per_passage, num_spans - len(found))
            for i, j in _search(start, end, max_answer_length, limit):
                found.append((doc, first + i, first + j))
                span_ids.append(ids[first + i : first + j + 1])
            if len(found) == num_spans:
                break
        return [  # sums of items of the objects as they were given, which keeps their type
            DPRSpanPrediction(starts[doc][i] + ends[doc][j], relevances[doc], doc, i, j, text)
            for (doc, i, j), text in zip(found, decode(span_ids), strict=True)
        ]


def _search(start: Floats, end: Floats, width: int, num_spans: int) -> list[tuple[int, int]]:
    """`best_spans` on checked arrays: take the best span of all gaps, then split its gap in two."""
    if not len(start):
        return []
    if not np.isfinite(start).all() and any(inf in start and -inf in end for inf in (np.inf, -np.inf)):
        return _search_by_sorting(start, end, width, num_spans)  # some sums may be NaN
    width = min(width, len(start))
    scores = start + _window_maxima(end, width)  # of the best span that begins at each token
    taken: list[tuple[int, int]] = []
    heap: list[tuple[Any, int, Gap]] = []  # (-score, start, gap); no two gaps share a start
    gaps = [(0, len(start) - 1, 0, len(start) - 1)]
    while True:
        for gap in gaps:
            first_start, last_start, _, _ = gap
            a = first_start + int(scores[first_start : last_start + 1].argmax())
            heappush(heap, (-scores[a], a, gap))
        if not heap:
            return taken
        _, a, gap = heappop(heap)
        _, _, first_end, last_end = gap
        b = max(a, first_end)
        sums = start[a : a + 1] + end[b : min(a + width - 1, last_end) + 1]
        b += int((sums == scores[a]).argmax())
        taken.append((a, b))
        if len(taken) == num_spans:
            return taken
        gaps = _split(start, end, scores, gap, a, b, width)


def _split(start: Floats, end: Floats, scores: Floats, gap: Gap, a: int, b: int, width: int) -> list[Gap]:
    """The gaps that (a, b) leaves before and after itself, their scores brought up to date in place.

    Every start in a gap has an end in it, so no score has to say "none", and -inf is a score like any other.
    """
    first_start, last_start, first_end, last_end = gap
    gaps = []
    if first_start < a and first_end < b:
        # Starts before a whose windows reached b now end with b - 1; ends before first_end are not theirs.
        row = max(first_start, b - width + 1)
        column = max(row, first_end)
        maxima = np.maximum.accumulate(end[column:b][::-1])[::-1]  # of end[column:b], end[column + 1:b], ...
        if row < column:
            scores[row:a] = start[row:a] + maxima[:1]
        if column < a:
            scores[column:a] = start[column:a] + maxima[: a - column]
        gaps.append((first_start, a - 1, first_end, b - 1))
    if a < last_start and b < last_end:
        # Starts after a, up to b, had windows that held b; these now begin with b + 1.
        stop = min(b, last_start) + 1
        maxima = np.maximum.accumulate(end[b + 1 : min(b + width, last_end + 1)])
        own = maxima[a + width - b - 1 :][: stop - a - 1]  # start a + 1 has the ends b + 1 to a + width
        row = a + 1 + len(own)
        scores[a + 1 : row] = start[a + 1 : row] + own
        if row < stop:  # windows that last_end cuts
            scores[row:stop] = start[row:stop] + maxima[-1:]
        gaps.append((a + 1, last_start, b + 1, last_end))
    return gaps


def _window_maxima(values: Floats, width: int) -> Floats:
    """The largest of values[i : i + width] for each i, by van Herk's algorithm.

    Cut into blocks of `width`, a window is the end of one block and the beginning of the next: two running maxima.
    """
    count = len(values)
    padded = np.full(-(-(count + width - 1) // width) * width, -np.inf, values.dtype)
    padded[:count] = values
    blocks = padded.reshape(-1, width)
    to_block_end = np.maximum.accumulate(blocks[:, ::-1], axis=1)[:, ::-1].ravel()
    from_block_begin = np.maximum.accumulate(blocks, axis=1).ravel()
    return np.maximum(to_block_end[:count], from_block_begin[width - 1 :][:count])


def _search_by_sorting(start: Floats, end: Floats, width: int, num_spans: int) -> list[tuple[int, int]]:
    """`_search` where inf - inf is NaN, which has no rank: the original's order is what Python's sort makes of it."""
    spans = [(i, j) for i in range(len(start)) for j in range(i, min(i + width, len(end)))]
    scores = [float(start[i] + end[j]) for i, j in spans]
    taken: list[tuple[int, int]] = []
    for rank in sorted(range(len(spans)), key=scores.__getitem__, reverse=True):
        i, j = spans[rank]
        if all((i < a and j < b) or (i > a and j > b) for a, b in taken):
            taken.append((i, j))
    return taken[:num_spans]


def _passage_bounds(doc: int, ids: list[int], sep_token_id: int, pad_token_id: int) -> tuple[int, int]:
    """Where a row's passage begins, after the question's [SEP], and where it stops, before the padding."""
    if sep_token_id not in ids[2:]:
        raise ValueError(
            f"input_ids[{doc}] cannot be decoded: no id after the second of its {len(ids)} is [SEP] "
            f"({sep_token_id}), so nothing marks its passage; it was cut too short, raise max_length"
        )
    stop = ids.index(pad_token_id) if ids[-1] == pad_token_id else len(ids)
    return ids.index(sep_token_id, 2) + 1, stop


def _rows(name: str, logits: Any, passages: int) -> list[Floats]:
    """An array for each passage, since lists may be ragged."""
    matrix = logits if isinstance(logits, list | tuple) else to_numpy(logits)
    return [_vector(f"{name}[{doc}]", matrix[doc]) for doc in range(passages)]


def _vector(name: str, logits: Any) -> Floats:
    array = to_numpy(logits)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}, but it must have one axis")
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    if len(array) and np.isnan(array[array.argmax()]):  # argmax stops at the first NaN
        raise ValueError(f"{name}[{array.argmax()}] is NaN, which cannot be ranked")
    return array


def _refuse_below_one(**bounds: int) -> None:
    for name, value in bounds.items():
        if value < 1:
            raise ValueError(f"{name} is {value}, but it must be at least 1")
