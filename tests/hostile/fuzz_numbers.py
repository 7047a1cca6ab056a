"""Numbers to break the span search, the answers and the input guard with."""

import itertools
import json
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import transformers

from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import KINDS
from dpr_export.models.tokenization.reader_tokenizer import DPRReaderTokenizer
from dpr_export.runtime.inference import inputs
from dpr_export.runtime.inference.answers import best_answers, whole_words
from tests.hostile.fuzz import Target, one_line
from tests.hostile.fuzz_texts import make_text, write_tokenizers

PAD, CLS, SEP = 0, 2, 3
LOGITS = (
    (0.0, 0.5, 1.0),
    (-3e-4, 2e-4, 1.0, 1000.0, 1001.0),
    (-6e4, -1.0, 3e4, 6e4),
    (-np.inf, -1.0, 0.0, 2.0),
    (-np.inf, 0.0, -0.0, np.inf),
    (1e-45, 5e-324, 3.4e38, -3.4e38),
)
CONFIG = DPRConfig(vocab_size=20, hidden_size=2, max_position_embeddings=16, type_vocab_size=2)
ENTRIES = (0, 1, 2, 19, 20, -1, 2**31, 2**63, -(2**63), 10**30, 0.0, 0.5, 1.0, float("nan"), True, None, "1", "x", b"1")
TYPES = ("i1", "u1", "i4", "u8", "i8", "f2", "f4", "f8", "?", "c8", "U2", "O", "M8[s]", ">i8")


def spans_case(chance: Random) -> tuple[list[list[int]], Any, dict[str, int]]:
    """Rows of one question with passages, odd [SEP] and [PAD] among them, logits of few values, and options."""
    values, dtype = chance.choice(LOGITS), chance.choice((np.float16, np.float32, np.float64, None))
    rows = []
    for _ in range(chance.randint(1, 3)):
        tokens = [chance.choice((SEP, PAD, CLS, 5, 6, 7, 8)) if chance.random() < 0.4 else 9 for _ in range(12)]
        rows.append([CLS, *tokens[: chance.randint(1, 12)], SEP, *tokens[: chance.randint(0, 12)]])
    length = max(map(len, rows)) + chance.randint(0, 2)
    rows = [row + [PAD] * (length - len(row)) for row in rows]
    start, end = ([[chance.choice(values) for _ in row] for row in rows] for _ in range(2))
    relevance = [chance.choice((-1.0, 0.25, 3.0)) for _ in rows]
    with np.errstate(over="ignore"):
        output = [part if dtype is None else np.array(part, dtype) for part in (start, end, relevance)]
    most = {"num_spans": 40, "max_answer_length": 30, "num_spans_per_passage": 12}
    return rows, output, {name: chance.randint(1, most[name]) for name in most if chance.random() < 0.7}


def check_spans(ours: Any, theirs: Any, case: Any) -> None:
    rows, output, options = case
    with np.errstate(all="ignore"):
        expected = theirs.decode_best_spans({"input_ids": rows}, output, **options)
        got = ours.decode_best_spans({"input_ids": rows}, output, **options)
    assert [span[2:] for span in got] == [tuple(span[2:]) for span in expected]
    scores = ([score for span in spans for score in span[:2]] for spans in (got, expected))
    for one, other in zip(*scores, strict=True):
        assert type(one) is type(other)
        assert one == other or (one != one and other != other)


def answers_case(chance: Random) -> tuple[str, list[str], list[str], list[Any], dict[str, Any]]:
    """A question, passages, the numbers that their logits are drawn from, and options."""
    count = chance.randint(1, 3)
    titles, texts = ([make_text(chance) for _ in range(count)] for _ in range(2))
    bounds = {"top_k": 6, "max_answer_length": 12, "spans_per_passage": 4}
    options = {name: chance.randint(1, most) for name, most in bounds.items()}
    return make_text(chance), titles, texts, [chance.choice((-1.0, 0.0, 0.0, 2.5, 7.0)) for _ in range(17)], options


def check_answers(tokenizer: DPRReaderTokenizer, case: Any) -> None:
    question, titles, texts, values, options = case
    rows = tokenizer.encode_passages(question, titles, texts, max_length=10**6, stride=2)
    drawn = itertools.cycle(values)
    logits = []
    for row in rows:
        start, end = (np.array([next(drawn) for _ in row.input_ids], np.float32) for _ in range(2))
        logits.append((start, end, next(drawn)))
    answers = best_answers(rows, logits, titles, texts, decode=tokenizer.batch_decode, **options)
    assert len(answers) <= options["top_k"]
    for answer in answers:
        text = texts[answer.passage]
        assert text[answer.start : answer.end] == answer.text
        assert 0 <= answer.start <= answer.end <= len(text)
        assert whole_words(text, answer.start, answer.end) == (answer.start, answer.end)
        assert answer.span.end_index - answer.span.start_index < options["max_answer_length"]
        assert titles[answer.passage] == answer.title
    relevances = [answer.relevance_score for answer in answers]
    assert relevances == sorted(relevances, reverse=True)
    for number in range(len(texts)):
        places = sorted((answer.start, answer.end) for answer in answers if answer.passage == number)
        assert len(places) <= options["spans_per_passage"]
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(places))


def make_input(chance: Random) -> Any:
    """Something that may be an array of small integers: lists, ragged or not, arrays of any type, or neither."""
    kind = chance.randint(0, 9)
    if kind == 0:
        return chance.choice(
            (None, 1, "ids", {}, {"input_ids": [[1]]}, [], [[]], [[[1]]], object, {1, 2}, b"12", range(3))
        )
    rows, length = chance.randint(1, 3), chance.choice((1, 2, 3, 16, 17))
    sound = chance.random() < 0.5
    made = [[chance.randint(0, 1) if sound else chance.choice(ENTRIES) for _ in range(length)] for _ in range(rows)]
    if kind < 5:
        if kind == 1 and chance.random() < 0.5:
            made[-1] = made[-1][:-1]
        return tuple(map(tuple, made)) if kind == 2 else made
    try:
        with np.errstate(all="ignore"):
            array = np.array(made, chance.choice(TYPES))
    except (TypeError, ValueError, OverflowError):
        return np.ones((rows, length), np.int64)
    return chance.choice((array, array.T, array[:, ::-1], array[0], array[None], list(array), np.asfortranarray(array)))


def inputs_case(chance: Random) -> tuple[str, dict[str, Any]]:
    """A call's arguments by name, of which one is the tokens or their embeddings, or both are or neither."""
    first = make_input(chance)
    given = {"input_ids": first}
    if chance.random() < 0.3:
        shape = chance.choice(((1, 3, 2), (2, 16, 2), (1, 17, 2), (1, 3, 3), (1, 0, 2), (3, 2)))
        values = np.full(shape, chance.choice((0.5, np.inf, np.nan, 6e4)))
        with np.errstate(all="ignore"):
            embeds = values.astype(chance.choice(("f2", "f4", "f8", ">f4")))
        given = {"inputs_embeds": chance.choice((embeds, embeds.tolist(), embeds[:, ::-1], first))}
    for name in ("attention_mask", "token_type_ids", *(("input_ids",) if chance.random() < 0.02 else ())):
        if chance.random() < 0.7:
            given[name] = first if chance.random() < 0.3 else make_input(chance)
    return chance.choice(list(KINDS)), given


def check_inputs(case: tuple[str, dict[str, Any]]) -> None:
    kind, given = KINDS[case[0]], case[1]
    try:
        feeds = inputs.check_inputs(kind, CONFIG, **given)
    except (ValueError, IndexError) as error:
        one_line(error, "(input_ids|attention_mask|token_type_ids|inputs_embeds)")
        return
    tokens = "input_ids" if given.get("input_ids") is not None else "inputs_embeds"
    assert tuple(feeds) == (tokens, *kind.inputs[1:])
    shape = feeds["attention_mask"].shape
    bounds = {"input_ids": CONFIG.vocab_size, "attention_mask": 2, "token_type_ids": CONFIG.type_vocab_size}
    assert len(shape) == 2
    assert 0 < shape[1] <= CONFIG.max_position_embeddings
    for name, array in feeds.items():
        assert array.flags.c_contiguous
        if name == "inputs_embeds":
            assert (array.dtype, array.shape) == (np.float32, (*shape, CONFIG.hidden_size))
        else:
            assert (array.dtype, array.shape) == (np.int64, shape)
            assert 0 <= array.min() <= array.max() < bounds[name]


def number_targets(root: Path, exported: Path) -> list[Target]:
    """The span search against transformers', what is true of every answer, and the guard of a call's arguments."""
    ours = DPRReaderTokenizer.from_pretrained(exported)
    theirs = transformers.DPRReaderTokenizerFast.from_pretrained(exported)
    clean = json.loads((exported / "tokenizer_config.json").read_text("utf-8"))["clean_up_tokenization_spaces"]
    assert clean is False
    bert = DPRReaderTokenizer.from_pretrained(write_tokenizers(root / "answers")["uncased"])
    return [
        Target("spans", spans_case, partial(check_spans, ours, theirs)),
        Target("answers", answers_case, partial(check_answers, bert)),
        Target("inputs", inputs_case, check_inputs),
    ]
