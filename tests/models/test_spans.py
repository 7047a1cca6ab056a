"""Spans are those of transformers' decode_best_spans: fields, order, ties and types."""

import doctest
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DPRReaderTokenizer

from dpr_export.models import spans
from dpr_export.models.outputs import DPRReaderOutput, DPRSpanPrediction
from dpr_export.models.spans import best_spans, decode_best_spans

PAD, UNK, CLS, SEP = range(4)
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "song", "##s", "don", "'", "t", ".", "a", "##er", "é"]
FORMS = {  # the types of start and end logits; None: Python's floats
    "list": (None, None),
    "ragged list": (None, None),
    "float16": (np.float16, np.float16),
    "float32": (np.float32, np.float32),
    "float64": (np.float64, np.float64),
    "float16 and float32": (np.float16, np.float32),
}
DRAWS = {  # what logits are drawn from; None: a normal distribution
    "all different": None,
    "one value": [0.0],
    "few values": [0.0, 0.5, 1.0],
    "sums that round to ties": [-3e-4, 2e-4, 1.0, 1000.0, 1001.0],
    "sums that overflow": [-6e4, -1.0, 3e4, 6e4],
    "masked": [-np.inf, -1.0, 0.0, 2.0],
    "infinities of both signs": [-np.inf, 0.0, 1.0, np.inf],
}
CASES = 150  # of each form and draw: 6,300 in all


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(TOKENS))
    return DPRReaderTokenizer(str(path))  # type: ignore[no-untyped-call]


def ours(reference: Any, input_ids: Any, output: Any, **options: int) -> list[DPRSpanPrediction]:
    def decode(rows: list[list[int]]) -> list[str]:
        return list(reference.backend_tokenizer.decode_batch(rows, skip_special_tokens=False))

    return decode_best_spans(input_ids, output, sep_token_id=SEP, pad_token_id=PAD, decode=decode, **options)


def make_rows(rng: np.random.Generator) -> list[list[int]]:
    """1 to 5 passages under one question, titles and texts of differing length, now and then with a stray
    [SEP] or [PAD] in them."""
    question = rng.integers(4, len(TOKENS), rng.integers(1, 5)).tolist()
    rows = []
    for _ in range(rng.integers(1, 6)):
        title = rng.integers(4, len(TOKENS), rng.integers(0, 7)).tolist()
        text = rng.integers(4 if rng.random() < 0.8 else 0, len(TOKENS), rng.integers(0, 26)).tolist()
        rows.append([CLS, *question, SEP, *title, SEP, *text])
    return rows


def make_logits(rng: np.random.Generator, draw: str, shape: tuple[int, ...]) -> Any:
    values = DRAWS[draw]
    return rng.normal(0, 4, shape) if values is None else rng.choice(values, shape)


def make_case(rng: np.random.Generator, form: str, draw: str) -> tuple[Any, Any]:
    """Ids and the three logits, in the given form."""
    rows = make_rows(rng)
    length = max(map(len, rows)) + int(rng.integers(0, 3))
    padded = [row + [PAD] * (length - len(row)) for row in rows]
    start, end = (make_logits(rng, draw, (len(rows), length)) for _ in range(2))
    relevance = rng.choice([-1.0, 0.25, 3.0], len(rows)) if rng.random() < 0.7 else rng.normal(size=len(rows))
    start_type, end_type = FORMS[form]
    if start_type is not None:
        output = DPRReaderOutput(start.astype(start_type), end.astype(end_type), relevance.astype(start_type))
        return np.array(padded), output
    if form == "ragged list":
        start, end = ([logits[: len(row)] for logits, row in zip(field, rows, strict=True)] for field in (start, end))
        return rows, ([row.tolist() for row in start], [row.tolist() for row in end], relevance.tolist())
    return padded, (start.tolist(), end.tolist(), relevance.tolist())


def make_options(rng: np.random.Generator) -> dict[str, int]:
    """The defaults, a few spans, or more than all passages hold."""
    return [
        {},
        {"num_spans": 3, "max_answer_length": int(rng.integers(1, 12)), "num_spans_per_passage": 2},
        {"num_spans": 10_000, "max_answer_length": int(rng.integers(1, 40)), "num_spans_per_passage": 1000},
        {"num_spans": int(rng.integers(1, 40)), "num_spans_per_passage": int(rng.integers(1, 9))},
    ][rng.integers(4)]


def same(one: Any, other: Any) -> bool:
    """Equal and of one type, a NaN being equal to another."""
    if type(one) is not type(other) or getattr(one, "dtype", None) != getattr(other, "dtype", None):
        return False
    if isinstance(one, torch.Tensor):
        one, other = one.item(), other.item()
    return bool(one == other or (one != one and other != other))


def assert_same(got: list[DPRSpanPrediction], expected: list[Any]) -> None:
    assert [prediction[2:] for prediction in got] == [prediction[2:] for prediction in expected]
    for one, other in zip(got, expected, strict=True):
        assert one._fields == other._fields
        assert all(map(same, one, other)), (one, other)


def count_same_spans(reference: Any, seed: int, form: str, draw: str, as_torch: bool = False) -> int:
    """Compare one case with transformers, and say how many spans there were."""
    rng = np.random.default_rng(seed)
    input_ids, output = make_case(rng, form, draw)
    if as_torch:
        input_ids, output = torch.tensor(input_ids), tuple(map(torch.tensor, output[:3]))
    options = make_options(rng)
    with np.errstate(all="ignore"):  # transformers' float16 sums overflow aloud
        expected = reference.decode_best_spans({"input_ids": input_ids}, output, **options)
    assert_same(ours(reference, input_ids, output, **options), expected)
    return len(expected)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("form", FORMS)
def test_spans_are_those_of_transformers(reference: Any, form: str, draw: str) -> None:
    first_seed = CASES * (list(DRAWS).index(draw) * len(FORMS) + list(FORMS).index(form))
    seeds = range(first_seed, first_seed + CASES)
    assert sum(count_same_spans(reference, seed, form, draw) for seed in seeds) > 5 * CASES


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_spans_of_torch_tensors_are_those_of_transformers(reference: Any, dtype: str, draw: str) -> None:
    assert sum(count_same_spans(reference, seed, dtype, draw, as_torch=True) for seed in range(8)) > 20


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_spans_of_long_passages_are_those_of_transformers(reference: Any, dtype: str) -> None:
    rng = np.random.default_rng(7)
    input_ids = np.full((3, 256), 5)
    input_ids[:, [0, 6, 10]] = CLS, SEP, SEP
    output = [rng.normal(size=shape).astype(dtype) for shape in ((3, 256), (3, 256), 3)]
    expected = reference.decode_best_spans({"input_ids": input_ids}, output)
    assert_same(ours(reference, input_ids, output), expected)


def test_tensors_that_require_a_gradient_are_read(reference: Any) -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0, 2.0, 1.0]], requires_grad=True)
    output = (logits, logits, torch.tensor([1.0], requires_grad=True))
    expected = reference.decode_best_spans({"input_ids": [[2, 5, 3, 3, 6, 7]]}, output)
    assert_same(ours(reference, [[2, 5, 3, 3, 6, 7]], output), expected)


def every_span_sorted(start: Any, end: Any, max_answer_length: int, num_spans: int) -> list[tuple[int, int]]:
    """The definition: all spans, falling by score, ties by (i, j), without those nested in one before."""
    pairs = ((i, j) for i in range(len(start)) for j in range(i, min(i + max_answer_length, len(end))))
    scores = {(i, j): start[i] + end[j] for i, j in pairs}
    taken: list[tuple[int, int]] = []
    for i, j in sorted(scores, key=lambda span: (-scores[span], span)):
        if not any((i <= a and b <= j) or (a <= i and j <= b) for a, b in taken):
            taken.append((i, j))
    return taken[:num_spans]


@st.composite
def passages(draw: st.DrawFn) -> tuple[Any, Any]:
    """Start and end logits of one passage, of few values or of any."""
    dtype, width = draw(st.sampled_from([(np.float16, 16), (np.float32, 32), (np.float64, 64)]))
    few = st.sampled_from([0.0, 1.0])
    rounding = st.sampled_from([-np.inf, -0.0, 0.0, 1.0, 1.5, 2048.0])
    values = draw(st.sampled_from([few, rounding, st.floats(allow_nan=False, allow_infinity=False, width=width)]))
    pairs = draw(st.lists(st.tuples(values, values), max_size=24))
    return np.array([a for a, _ in pairs], dtype), np.array([b for _, b in pairs], dtype)


@settings(deadline=None, max_examples=400)
@given(passages(), st.integers(1, 30), st.integers(1, 30))
def test_the_search_finds_what_sorting_every_span_finds(
    passage: tuple[Any, Any], max_answer_length: int, num_spans: int
) -> None:
    with np.errstate(over="ignore"):
        expected = every_span_sorted(*passage, max_answer_length, num_spans)
    assert best_spans(*passage, max_answer_length, num_spans) == expected


@settings(deadline=None)
@given(passages(), st.integers(1, 30), st.integers(1, 30))
def test_asking_for_fewer_spans_gives_the_first_of_many(
    passage: tuple[Any, Any], max_answer_length: int, num_spans: int
) -> None:
    everything = best_spans(*passage, max_answer_length, 1000)
    assert best_spans(*passage, max_answer_length, num_spans) == everything[:num_spans]


@settings(deadline=None)
@given(passages(), st.integers(1, 30))
def test_every_span_is_inside_the_bounds_and_none_is_nested(passage: tuple[Any, Any], max_answer_length: int) -> None:
    taken = sorted(best_spans(*passage, max_answer_length, 1000))
    assert all(0 <= i <= j < len(passage[0]) and j - i < max_answer_length for i, j in taken)
    assert all(a < c and b < d for (a, b), (c, d) in pairwise(taken))
    assert bool(taken) == bool(len(passage[0]))


def test_a_passage_without_tokens_has_no_spans() -> None:
    assert best_spans([], [], 10, 4) == []


def test_integers_are_logits_too() -> None:
    assert best_spans([1, 2, 0], [0, 0, 2], max_answer_length=2, num_spans=1) == [(1, 2)]


def test_no_passages_have_no_spans(reference: Any) -> None:
    assert ours(reference, [], ([], [], [])) == reference.decode_best_spans({"input_ids": []}, ([], [], [])) == []


def test_decode_is_called_once_for_all_spans() -> None:
    calls = []

    def decode(rows: list[list[int]]) -> list[str]:
        calls.append(rows)
        return ["text"] * len(rows)

    output = ([[0.0, 0, 0, 3, 2]] * 2, [[0.0, 0, 0, 3, 2]] * 2, [1.0, 2.0])
    found = decode_best_spans([[2, 5, 3, 6, 7]] * 2, output, sep_token_id=SEP, pad_token_id=PAD, decode=decode)
    assert [prediction.doc_id for prediction in found] == [1, 1, 0, 0]
    assert calls == [[[6], [7], [6], [7]]]


IDS = [[2, 5, 3, 6, 3, 7, 8]] * 2
ZEROS = [[0.0] * 7, [0.0] * 7]
WITH_NAN = [[0.0] * 7, [0.0, 0.0, math.nan, 0.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("output", "place"),
    [
        ((WITH_NAN, ZEROS, [1.0, 0.0]), r"start_logits\[1\]\[2\]"),
        ((ZEROS, WITH_NAN, [1.0, 0.0]), r"end_logits\[1\]\[2\]"),
        ((ZEROS, ZEROS, [1.0, math.nan]), r"relevance_logits\[1\]"),
        (tuple(map(np.array, (ZEROS, WITH_NAN, [1.0, 0.0]))), r"end_logits\[1\]\[2\]"),
        (tuple(map(torch.tensor, (WITH_NAN, ZEROS, [1.0, 0.0]))), r"start_logits\[1\]\[2\]"),
    ],
)
def test_a_nan_is_refused_even_where_no_span_is_looked_for(reference: Any, output: Any, place: str) -> None:
    with pytest.raises(ValueError, match=f"{place} is NaN"):
        ours(reference, IDS, output, num_spans=1)


def test_a_nan_in_one_passage_is_refused() -> None:
    with pytest.raises(ValueError, match=r"start_logits\[1\] is NaN"):
        best_spans([0.0, math.nan], [0.0, 0.0], 10, 4)
    with pytest.raises(ValueError, match=r"end_logits\[0\] is NaN"):
        best_spans([0.0, 0.0], [math.nan, 0.0], 10, 4)


@pytest.mark.parametrize(
    ("ids", "output", "message"),
    [
        (IDS[:1], (ZEROS, ZEROS, [1.0, 0.0]), "input_ids has 1 rows, but relevance_logits has 2"),
        (IDS, (ZEROS[:1], ZEROS, [1.0, 0.0]), "start_logits has 1 rows, but relevance_logits has 2"),
        (IDS, (ZEROS, ZEROS[:1], [1.0, 0.0]), "end_logits has 1 rows, but relevance_logits has 2"),
        (IDS, (ZEROS, [[0.0] * 6] * 2, [1.0, 0.0]), r"start_logits\[0\] is 4 long in the text, end_logits\[0\] 3$"),
        (IDS, (ZEROS, ZEROS, [[1.0], [0.0]]), r"relevance_logits has shape \(2, 1\)"),
        (IDS, ([0.0, 0.0], ZEROS, [1.0, 0.0]), r"start_logits\[0\] has shape \(\)"),
    ],
)
def test_inputs_that_do_not_fit_together_are_refused(reference: Any, ids: Any, output: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ours(reference, ids, output)


def test_logits_of_one_passage_must_be_of_one_length() -> None:
    with pytest.raises(ValueError, match="start_logits has 1 entries, but end_logits has 2"):
        best_spans([0.0], [0.0, 1.0], 10, 4)


@pytest.mark.parametrize("name", ["num_spans", "max_answer_length", "num_spans_per_passage"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_bound_below_one_is_refused(reference: Any, name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}, but it must be at least 1"):
        ours(reference, IDS, (ZEROS, ZEROS, [1.0, 0.0]), **{name: value})


def test_a_bound_below_one_is_refused_for_one_passage() -> None:
    with pytest.raises(ValueError, match="max_answer_length is 0"):
        best_spans([0.0], [0.0], 0, 4)
    with pytest.raises(ValueError, match="num_spans is 0"):
        best_spans([0.0], [0.0], 10, 0)


@pytest.mark.parametrize("cut", [[], [2], [2, 3], [2, 5, 6, 7], [2, 3, 5, 6, 7]])
def test_a_row_cut_before_its_second_sep_cannot_be_decoded(reference: Any, cut: list[int]) -> None:
    logits = [[0.0] * 7, [0.0] * len(cut)]
    with pytest.raises(ValueError, match=r"input_ids\[1\] cannot be decoded: .*\[SEP\] \(3\).* max_length"):
        ours(reference, [IDS[0], cut], (logits, logits, [1.0, 0.0]))


def test_a_cut_row_that_is_not_needed_does_no_harm(reference: Any) -> None:
    output = (ZEROS, ZEROS, [1.0, 0.0])
    expected = reference.decode_best_spans({"input_ids": [IDS[0], [2, 5]]}, output, num_spans=2)
    assert_same(ours(reference, [IDS[0], [2, 5]], output, num_spans=2), expected)


def test_the_examples_in_the_docstrings_run() -> None:
    result = doctest.testmod(spans)
    assert result.attempted
    assert not result.failed
