"""The outputs of DPR models, as in transformers: three dataclasses and one named tuple.

Fields are read by attribute, key, index or slice. One that is None has no key and no index, and `to_tuple()` omits it;
iteration yields the keys. Fields are NumPy arrays, or torch tensors if the inputs were.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


class ModelOutput(Mapping[str, Any]):
    """A dataclass that can be read as a dictionary or as a tuple of the fields that are not None."""

    __eq__ = object.__eq__  # a Mapping would compare its arrays
    __hash__ = object.__hash__

    def _present(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if value is not None}

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the fields that are not None, in order."""
        return tuple(self._present().values())

    def __getitem__(self, key: str | int | slice) -> Any:
        return self._present()[key] if isinstance(key, str) else self.to_tuple()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in {field.name for field in fields(self)}:  # type: ignore[arg-type]
            raise KeyError(key)
        setattr(self, key, value)

    def __contains__(self, key: object) -> bool:
        return key in self._present()

    def __iter__(self) -> Iterator[str]:
        return iter(self._present())

    def __len__(self) -> int:
        return len(self._present())


@dataclass(eq=False)
class _EncoderOutput(ModelOutput):
    pooler_output: Array
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None


class DPRQuestionEncoderOutput(_EncoderOutput):
    """The output of a question encoder.

    Attributes:
        pooler_output: float (batch, dim), the vectors of the questions.
        hidden_states: layers + 1 arrays, float (batch, sequence, hidden); None unless requested.
        attentions: layers arrays, float (batch, heads, sequence, sequence); None unless requested.

    >>> DPRQuestionEncoderOutput(np.zeros((1, 8)))["pooler_output"].shape
    (1, 8)
    """


class DPRContextEncoderOutput(_EncoderOutput):
    """The output of a context encoder: the fields of `DPRQuestionEncoderOutput`, for passages."""


@dataclass(eq=False)
class DPRReaderOutput(ModelOutput):
    """The output of a reader, one row for each passage.

    Attributes:
        start_logits: float (passages, sequence), the score of each token as the start of an answer.
        end_logits: float (passages, sequence), the score of each token as its end.
        relevance_logits: float (passages,), the score of each passage as the one with the answer.
        hidden_states: layers + 1 arrays, float (passages, sequence, hidden); None unless requested.
        attentions: layers arrays, float (passages, heads, sequence, sequence); None unless requested.

    >>> start, end, relevance = DPRReaderOutput(np.zeros((2, 5)), np.ones((2, 5)), np.ones(2))[:3]
    >>> start.shape, relevance.shape
    ((2, 5), (2,))
    """

    start_logits: Array
    end_logits: Array
    relevance_logits: Array
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None


class DPRSpanPrediction(NamedTuple):
    """One span of one passage, as `decode_best_spans` returns it.

    Attributes:
        span_score: start logit + end logit, in the type of the logits.
        relevance_score: the relevance logit of the passage.
        doc_id: the row of the passage.
        start_index: the first token of the span, counted from the start of the row.
        end_index: its last token, inclusive.
        text: the decoded tokens.
    """

    span_score: Any
    relevance_score: Any
    doc_id: int
    start_index: int
    end_index: int
    text: str
