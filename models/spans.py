"""Find the best answer spans, the same as in transformers, without scoring and sorting all spans.

A span (i, j) has 0 <= j - i < max_answer_length and the score start[i] + end[j]. Spans are selected best first, and a
span that contains, equals or lies within a selected one is dropped. The search avoids most of the 14,000 spans of a
passage of 256 tokens. For a given i, the best end is the largest end logit in a window, and all window maxima take one
pass. Once (a, b) is selected, the passage splits into two gaps, each a smaller passage, with other spans before it
(i < a, j < b) or after it (i > a, j > b). Only the windows across the border change.

Ties go to the smaller i, then to the smaller j. Rounding makes sums equal whose logits differ, mostly in float16.
Therefore j is the first end whose *rounded sum* is the best, and not the index of the largest end logit.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpr_export.models.outputs import DPRSpanPrediction
from dpr_export.models.torch_interop import to_numpy

Floats = NDArray[np.floating[Any]]
Gap = tuple[int, int, int, int]  # first start, last start, first end, last end of its spans, all inclusive


def best_spans(
    start_logits: ArrayLike, end_logits: ArrayLike, max_answer_length: int, num_spans: int
) -> list[tuple[int, int]]:
    """Return the best spans of one passage, best first.

    Args:
        start_logits: float (tokens,), of the passage alone, without question and padding. May be empty.
        end_logits: float (tokens,).
        max_answer_length: the largest number of tokens of a span, at least 1.
        num_spans: the largest number of spans to return, at least 1.

    Returns:
        Pairs (first token, last token), both inclusive, counted from the start of the logits.

    Raises:
        ValueError: a NaN, logits that differ in length or have more than one axis, or a bound below 1.

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
    """Return the best spans of the most relevant passages, as `decode_best_spans` of transformers does.

    Passages are read in the order of falling relevance (ties: lower index first), each with its spans best first, until
    `num_spans` are found. A passage starts after the question's [SEP], as in transformers. A span may therefore lie in
    the title, or contain the [SEP] after it.

    Args:
        input_ids: int (passages, tokens). It and the logits may be lists, also ragged ones, arrays or torch tensors.
        reader_output: a sequence that starts with the start and end logits, float (passages, tokens), and the
            relevance logits, float (passages,).
        sep_token_id, pad_token_id: the ids of [SEP] and [PAD]. A row whose last id is [PAD] ends before its first one.
        decode: returns the texts of many spans, given their ids; called once.
        num_spans, max_answer_length, num_spans_per_passage: as in `DPRReaderTokenizer.decode_best_spans`.

    Returns:
        Spans whose indices count from the start of the row. Scores have the type of the logits' items.

    Raises:
        ValueError: a NaN in the logits, a missing row, or a bound below 1. For passages that are read: no [SEP] after
            the question, or start and end logits that differ in length.

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
    places: list[tuple[int, int, int]] = []
    span_ids: list[list[int]] = []
    with np.errstate(over="ignore", invalid="ignore"):
        for doc in order:
            row = input_ids[doc]
            ids = row.tolist() if hasattr(row, "tolist") else list(row)
            first, stop = _passage_bounds(doc, ids, sep_token_id, pad_token_id)
            start, end = start_rows[doc][first:stop], end_rows[doc][first:stop]
            if len(start) != len(end):
                raise ValueError(f"start_logits[{doc}] is {len(start)} long in the text, end_logits[{doc}] {len(end)}")
            limit = min(num_spans_per_passage, num_spans - len(places))
            for i, j in _search(start, end, max_answer_length, limit):
                places.append((doc, first + i, first + j))
                span_ids.append(ids[first + i : first + j + 1])
            if len(places) == num_spans:
                break
        return [  # sums of items of the caller's own objects, which keeps their type
            DPRSpanPrediction(starts[doc][i] + ends[doc][j], relevances[doc], doc, i, j, text)
            for (doc, i, j), text in zip(places, decode(span_ids), strict=True)
        ]


def _search(start: Floats, end: Floats, width: int, num_spans: int) -> list[tuple[int, int]]:
    """Search checked arrays: select the best span of all gaps, then split its gap in two."""
    if not len(start):
        return []
    if not np.isfinite(start).all() and any(inf in start and -inf in end for inf in (np.inf, -np.inf)):
        return _search_by_sorting(start, end, width, num_spans)  # some sums may be NaN
    width = min(width, len(start))
    scores = start + _window_maxima(end, width)  # of the best span that starts at each token
    selected: list[tuple[int, int]] = []
    heap: list[tuple[Any, int, Gap]] = []  # (-score, start, gap); no two gaps share a start
    gaps = [(0, len(start) - 1, 0, len(start) - 1)]
    while True:
        for gap in gaps:
            first_start, last_start, _, _ = gap
            a = first_start + int(scores[first_start : last_start + 1].argmax())
            heappush(heap, (-scores[a], a, gap))
        if not heap:
            return selected
        _, a, gap = heappop(heap)
        _, _, first_end, last_end = gap
        b = max(a, first_end)
        sums = start[a : a + 1] + end[b : min(a + width - 1, last_end) + 1]
        b += int((sums == scores[a]).argmax())
        selected.append((a, b))
        if len(selected) == num_spans:
            return selected
        gaps = _split(start, end, scores, gap, a, b, width)


def _split(start: Floats, end: Floats, scores: Floats, gap: Gap, a: int, b: int, width: int) -> list[Gap]:
    """Return the gaps before and after the selected span (a, b), and update their scores in place.

    Every start in a gap has an end in it, so that no score has to mean "none", and -inf is an ordinary score.
    """
    first_start, last_start, first_end, last_end = gap
    gaps = []
    if first_start < a and first_end < b:
        # Windows of starts before a that reached b now end at b - 1; ends before first_end belong to another gap.
        row = max(first_start, b - width + 1)
        column = max(row, first_end)
        maxima = np.maximum.accumulate(end[column:b][::-1])[::-1]  # of end[column:b], end[column + 1:b], ...
        if row < column:
            scores[row:a] = start[row:a] + maxima[:1]
        if column < a:
            scores[column:a] = start[column:a] + maxima[: a - column]
        gaps.append((first_start, a - 1, first_end, b - 1))
    if a < last_start and b < last_end:
        # Windows of starts after a, up to b, contained b; they now start at b + 1.
        stop = min(b, last_start) + 1
        maxima = np.maximum.accumulate(end[b + 1 : min(b + width, last_end + 1)])
        own = maxima[a + width - b - 1 :][: stop - a - 1]  # start a + 1 has the ends b + 1 to a + width
        row = a + 1 + len(own)
        scores[a + 1 : row] = start[a + 1 : row] + own
        if row < stop:  # windows that reach past last_end
            scores[row:stop] = start[row:stop] + maxima[-1:]
        gaps.append((a + 1, last_start, b + 1, last_end))
    return gaps


def _window_maxima(values: Floats, width: int) -> Floats:
    """Return the maximum of values[i : i + width] for each i, by van Herk's algorithm.

    The values are cut into blocks of `width`. A window is then the end of one block and the start of the next, and its
    maximum that of two running maxima.
    """
    count = len(values)
    padded = np.full(-(-(count + width - 1) // width) * width, -np.inf, values.dtype)
    padded[:count] = values
    blocks = padded.reshape(-1, width)
    to_block_end = np.maximum.accumulate(blocks[:, ::-1], axis=1)[:, ::-1].ravel()
    from_block_begin = np.maximum.accumulate(blocks, axis=1).ravel()
    return np.maximum(to_block_end[:count], from_block_begin[width - 1 :][:count])


def _search_by_sorting(start: Floats, end: Floats, width: int, num_spans: int) -> list[tuple[int, int]]:
    """Search where inf - inf gives NaN, which has no rank: the order is that of Python's sort, as in transformers."""
    spans = [(i, j) for i in range(len(start)) for j in range(i, min(i + width, len(end)))]
    scores = [float(start[i] + end[j]) for i, j in spans]
    selected: list[tuple[int, int]] = []
    for rank in sorted(range(len(spans)), key=scores.__getitem__, reverse=True):
        i, j = spans[rank]
        if all((i < a and j < b) or (i > a and j > b) for a, b in selected):
            selected.append((i, j))
    return selected[:num_spans]


def _passage_bounds(doc: int, ids: list[int], sep_token_id: int, pad_token_id: int) -> tuple[int, int]:
    """Return the start of a row's passage, after the question's [SEP], and its stop, before the padding."""
    if sep_token_id not in ids[2:]:
        raise ValueError(
            f"input_ids[{doc}] cannot be decoded: no id after the second of its {len(ids)} is [SEP] "
            f"({sep_token_id}), so nothing marks its passage; it was cut too short, raise max_length"
        )
    stop = ids.index(pad_token_id) if ids[-1] == pad_token_id else len(ids)
    return ids.index(sep_token_id, 2) + 1, stop


def _rows(name: str, logits: Any, passages: int) -> list[Floats]:
    """Return an array for each passage, because lists may be ragged."""
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
