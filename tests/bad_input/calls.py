"""What is given wrongly to Python calls: each row is refused in one line that names the argument, value or bound."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpr_export.models.outputs import DPRReaderOutput
from dpr_export.runtime import DPRContextEncoder, DPRQuestionEncoder, DPRReader


@dataclass(frozen=True)
class Place:
    """What a case may use: a model of each kind, which it leaves as it was."""

    question: DPRQuestionEncoder
    context: DPRContextEncoder
    reader: DPRReader
    folders: dict[str, Path]


@dataclass(frozen=True)
class Case:
    """One wrong thing: what it is, the error and its words, and how it is done."""

    name: str
    error: type[Exception]
    words: str
    do: Callable[[Place], Any]


GOOD = np.array([[2, 7, 9, 3], [2, 8, 3, 0]])
MASK = np.ones_like(GOOD)
LONE = "caf\ud83d"
TITLES, TEXTS = ["Hamlet", "Paris"], ["a play", "a capital"]


def _ids(name: str, error: type[Exception], words: str, ids: Any, **named: Any) -> Case:
    return Case(name, error, words, lambda place: place.question(ids, **named))


def _with(row: int, column: int, value: Any, base: np.ndarray = GOOD, dtype: Any = None) -> np.ndarray:
    changed = base.astype(dtype) if dtype else base.copy()
    changed[row, column] = value
    return changed


MODEL_CALLS = [
    _ids("floats for ids", ValueError, "input_ids has type float64, and must hold integers", GOOD * 1.0),
    _ids("booleans for ids", ValueError, "input_ids has type bool, and must hold integers", GOOD > 2),
    _ids("complex ids", ValueError, "input_ids has type complex128", GOOD * 1j),
    _ids("strings for ids", ValueError, "input_ids has type <U3, and must hold integers", [["who", "is"]]),
    _ids("one string", ValueError, r"input_ids has shape \(\), and must have 2 dimensions", "who is it"),
    _ids("objects for ids", ValueError, "input_ids has rows of different lengths, or holds no numbers", [[object()]]),
    _ids("no ids", ValueError, "You have to specify either input_ids or inputs_embeds", None),
    _ids("one row without its batch", ValueError, r"input_ids has shape \(4,\), and must have 2 dim", GOOD[0]),
    _ids("three dimensions", ValueError, r"input_ids has shape \(1, 2, 4\), and must have 2 dim", GOOD[None]),
    _ids("rows of different lengths", ValueError, r"input_ids (is no array|has rows of different)", [[1, 2], [3]]),
    _ids("no rows", ValueError, r"input_ids has shape \(0, 4\): at least one row", GOOD[:0]),
    _ids("no tokens", ValueError, r"input_ids has shape \(2, 0\): at least one row and one token", GOOD[:, :0]),
    _ids("an empty list", ValueError, r"input_ids has shape \(0,\), and must have 2 dimensions", []),
    _ids("an id past the vocabulary", IndexError, r"input_ids\[1, 2\] is 120, but the vocabulary", _with(1, 2, 120)),
    _ids("a negative id", IndexError, r"input_ids\[0, 1\] is -1, but the vocabulary has 120 entries", _with(0, 1, -1)),
    _ids("an id past 32 bits", IndexError, r"input_ids\[0, 0\] is 1099511627776", _with(0, 0, 2**40)),
    _ids("an id past 63 bits", IndexError, rf"input_ids\[0, 0\] is {2**63}", _with(0, 0, 2**63, dtype=np.uint64)),
    _ids("too many tokens", ValueError, "513 tokens a row, and the model has 512 positions", np.ones((1, 513), int)),
    _ids("a mask of another length", ValueError, r"attention_mask has shape \(2, 3\), and input_ids has \(2, 4\)", GOOD, attention_mask=MASK[:, :3]),
    _ids("a mask of one row", ValueError, r"attention_mask has shape \(4,\), and must have 2", GOOD, attention_mask=MASK[0]),
    _ids("a fractional mask", ValueError, r"attention_mask\[0, 1\] is 0.5, and must be 0 or 1", GOOD, attention_mask=_with(0, 1, 0.5, MASK, float)),
    _ids("a negative mask", ValueError, r"attention_mask\[1, 3\] is -1, and must be 0 or 1", GOOD, attention_mask=_with(1, 3, -1, MASK)),
    _ids("a mask of two", ValueError, r"attention_mask\[0, 0\] is 2, and must be 0 or 1", GOOD, attention_mask=MASK * 2),
    _ids("a mask with NaN", ValueError, r"attention_mask\[0, 0\] is nan, and must be 0 or 1", GOOD, attention_mask=_with(0, 0, np.nan, MASK, float)),
    _ids("a mask of strings", ValueError, "attention_mask has type <U21, and must hold numbers", GOOD, attention_mask=MASK.astype(str)),
    _ids("a complex mask", ValueError, "attention_mask has type complex128, and must hold numbers", GOOD, attention_mask=MASK * 1j),
    _ids("a token type too large", IndexError, r"token_type_ids\[0, 3\] is 2, but the table of token types has 2", GOOD, token_type_ids=_with(0, 3, 2, MASK * 0)),
    _ids("a negative token type", IndexError, r"token_type_ids\[1, 0\] is -1", GOOD, token_type_ids=_with(1, 0, -1, MASK * 0)),
    _ids("floats for token types", ValueError, "token_type_ids has type float64", GOOD, token_type_ids=MASK * 0.0),
    _ids("token types of another shape", ValueError, r"token_type_ids has shape \(1, 4\)", GOOD, token_type_ids=MASK[:1]),
    _ids("ids and embeddings", ValueError, "You cannot specify both input_ids and inputs_embeds", GOOD, inputs_embeds=np.zeros((2, 4, 32))),
    _ids("embeddings that the folder has no graph for", ValueError, "--inputs-embeds", None, inputs_embeds=np.zeros((2, 4, 32))),
    _ids("integers for embeddings", ValueError, "inputs_embeds has type int64, and must hold floats", None, inputs_embeds=np.zeros((2, 4, 32), int)),
    _ids("attentions that were not exported", ValueError, "--output-attentions", GOOD, output_attentions=True),
    _ids("an unknown argument", TypeError, "position_ids", GOOD, position_ids=GOOD),
    _ids("an unknown argument in a dictionary", TypeError, "takes no 'position_ids'", {"input_ids": GOOD, "position_ids": GOOD}),
    Case("token types for a reader", TypeError, "token_type_ids", lambda p: p.reader(GOOD, token_type_ids=GOOD)),
    Case("another device", ValueError, 'this model runs on cpu: load it .*device="cuda"', lambda p: p.reader.to("cuda")),
]  # fmt: skip


def _tokens(name: str, error: type[Exception], words: str, *texts: Any, **named: Any) -> Case:
    return Case(name, error, words, lambda place: place.question.tokenizer(*texts, **named))


def _passages(name: str, error: type[Exception], words: str, *columns: Any, **named: Any) -> Case:
    return Case(name, error, words, lambda place: place.reader.tokenizer(*columns, **named))


TOKENIZER_CALLS = [
    _tokens("half a surrogate pair", ValueError, r"text\[1\] holds half a surrogate pair, .* at position 3", ["a", LONE]),
    _tokens("bytes for text", ValueError, "text is of type bytes, but must be a string", b"who"),
    _tokens("a number for text", ValueError, "text is of type int, but must be a string", 7),
    _tokens("nothing for text", ValueError, "text is of type NoneType", None),
    _tokens("nothing among texts", ValueError, r"text\[1\] is of type NoneType, but must be a string", ["who", None]),
    _tokens("as many pairs as texts", ValueError, "text has 2 entries, but text_pair has 1", ["a", "b"], ["c"]),
    _tokens("one pair for many texts", TypeError, "text_pair must be a list of the same length", ["a", "b"], "c"),
    _tokens("an unknown padding", ValueError, "padding is 'most', but must be True, False", "who", padding="most"),
    _tokens("an unknown truncation", ValueError, "truncation is 'all', but must be True", "who", truncation="all"),
    _tokens("an unknown side", ValueError, 'padding_side is .middle., but must be "right" or "left"', ["a", "b c"], padding=True, padding_side="middle"),
    _tokens("unknown tensors", ValueError, "return_tensors is 'tf'", "who", return_tensors="tf"),
    _tokens("a negative max_length", ValueError, "max_length is -1, but must be a whole number from 0", "who", truncation=True, max_length=-1),
    _tokens("a fractional max_length", ValueError, "max_length is 3.5, but must be a whole number", "who", truncation=True, max_length=3.5),
    _tokens("no room for special tokens", ValueError, "max_length is 1, but the special tokens of a row alone are 2", "who", truncation=True, max_length=1),
    _tokens("rows of different length as arrays", ValueError, "give padding=True", ["who", "who is it"], return_tensors="np"),
    _tokens("a string where words are needed", ValueError, "needs a list of words", "who", is_split_into_words=True),
    _tokens("an unknown keyword", TypeError, "nonsense", "who", nonsense=1),
    _passages("fewer texts than titles", ValueError, "titles has 2 entries, but texts has 1", "who ?", TITLES, TEXTS[:1]),
    _passages("a list of one question for two passages", ValueError, "questions has 1 entries, but there are 2 passages", ["who ?"], TITLES, TEXTS),
    _passages("no passages", ValueError, "at least one passage is needed", "who ?", [], []),
    _passages("half a surrogate pair in a title", ValueError, r"titles\[0\] holds half a surrogate pair", "who ?", [LONE], ["a"]),
    _passages("a text that is none", ValueError, r"texts\[1\] is of type float", "who ?", TITLES, ["a play", 0.5]),
    _passages("a reader's unknown truncation", ValueError, "truncation is 'cut'", "who ?", TITLES, TEXTS, truncation="cut", max_length=9),
    _passages("a reader's rows of different length", ValueError, "give padding=True", "who ?", TITLES, ["a", "a play"], return_tensors="np"),
]  # fmt: skip


def _spans(name: str, words: str, start: Any = 0.0, rows: int = 2, **named: Any) -> Case:
    def do(place: Place) -> Any:
        encoded = place.reader.tokenizer("who ?", TITLES, TEXTS, padding=True, return_tensors="np", max_length=8)
        encoded["input_ids"] = encoded["input_ids"][:rows]
        shape = (2, encoded["input_ids"].shape[1])
        output = DPRReaderOutput(np.full(shape, start), np.zeros(shape), np.zeros(2))
        return place.reader.tokenizer.decode_best_spans(encoded, output, **named)

    return Case(name, ValueError, words, do)


def _cut(place: Place) -> Any:
    encoded = place.reader.tokenizer(
        "who wrote it ?", TITLES, TEXTS, truncation=True, max_length=3, return_tensors="np"
    )
    output = DPRReaderOutput(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros(2))
    return place.reader.tokenizer.decode_best_spans(encoded, output)


def _answer(name: str, error: type[Exception], words: str, *columns: Any, **named: Any) -> Case:
    return Case(name, error, words, lambda place: place.reader.answer(*columns, **named))


HIGHER_CALLS = [
    _spans("NaN logits", "NaN|nan", start=np.nan),
    _spans("fewer rows of ids than of logits", "rows|passages", rows=1),
    _spans("no spans wanted", "num_spans is 0", num_spans=0),
    _spans("spans of no length", "max_answer_length is 0", max_answer_length=0),
    _spans("no spans of a passage", "num_spans_per_passage is -1", num_spans_per_passage=-1),
    Case("a row cut before its title ends", ValueError, r"\[SEP\]|second|sep_token", _cut),
    _answer("no answers wanted", ValueError, "top_k is 0, and must be an integer of at least 1", "who ?", TITLES, TEXTS, top_k=0),
    _answer("half an answer wanted", ValueError, "top_k is 1.5, and must be an integer", "who ?", TITLES, TEXTS, top_k=1.5),
    _answer("answers of no length", ValueError, "max_answer_length is 0", "who ?", TITLES, TEXTS, max_answer_length=0),
    _answer("a negative stride", ValueError, "stride is -1, but must be a whole number from 0", "who ?", TITLES, TEXTS, stride=-1),
    _answer("more titles than texts", ValueError, "titles|texts", "who ?", TITLES, TEXTS[:1]),
    _answer("no passages to answer from", ValueError, "passage", "who ?", [], []),
    _answer("a question that leaves no room", ValueError, "leave no room for its text", "who " * 600, TITLES, TEXTS),
    _answer("no token a batch", ValueError, "batch_tokens|budget", "who ?", TITLES, TEXTS, batch_tokens=0),
    Case("one string to encode", TypeError, "texts is one string: give a list", lambda p: p.question.encode("who")),
    Case("a number to encode", TypeError, r"texts\[1\] is of type int", lambda p: p.question.encode(["who", 1])),
    Case("a dictionary to encode", TypeError, "texts is of type dict: give a list", lambda p: p.question.encode({"q1": "who"})),
    Case("nothing to encode", TypeError, "texts is of type NoneType", lambda p: p.question.encode(None)),
    Case("half a surrogate pair to encode", ValueError, "half a surrogate", lambda p: p.question.encode([LONE])),
    Case("titles for some texts", ValueError, "titles has 1 entries and texts 2", lambda p: p.context.encode(TEXTS, TITLES[:1])),
    Case("unknown segments", ValueError, "segments is 'x', and must be one of: hf, dpr", lambda p: p.context.encode(TEXTS, segments="x")),
]  # fmt: skip

CALLS = [*MODEL_CALLS, *TOKENIZER_CALLS, *HIGHER_CALLS]


def names() -> Iterator[str]:
    return (case.name for case in CALLS)
