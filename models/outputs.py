"""What a DPR model returns: three dataclasses and one named tuple, shaped as the original's.

They answer to attribute, key, index and slice alike, since programs written for the original use all four.
A field that is None is absent everywhere but as an attribute: it has no key, no index and no place in
`to_tuple()`. Iterating yields the keys, as a dictionary does. Fields hold NumPy arrays, or torch tensors where
torch tensors went in.
"""

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


class ModelOutput:
    """A dataclass that can be read as a dictionary or as a tuple of the fields that are not None."""

    def _present(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if value is not None}

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields that are not None, in order."""
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

    def keys(self) -> KeysView[str]:
        return self._present().keys()

    def values(self) -> ValuesView[Any]:
        return self._present().values()

    def items(self) -> ItemsView[str, Any]:
        return self._present().items()

    def get(self, key: str, default: Any = None) -> Any:
        return self._present().get(key, default)


Mapping.register(ModelOutput)


@dataclass(eq=False)
class _EncoderOutput(ModelOutput):
    pooler_output: Array
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None


class DPRQuestionEncoderOutput(_EncoderOutput):
    """What a question encoder returns.

    Attributes:
        pooler_output: float (batch, dim), the questions' vectors.
        hidden_states: layers + 1 arrays, float (batch, sequence, hidden); None unless asked for.
        attentions: layers arrays, float (batch, heads, sequence, sequence); None unless asked for.

    >>> DPRQuestionEncoderOutput(np.zeros((1, 8)))["pooler_output"].shape
    (1, 8)
    """


class DPRContextEncoderOutput(_EncoderOutput):
    """What a context encoder returns: the fields of `DPRQuestionEncoderOutput`, for passages."""


@dataclass(eq=False)
class DPRReaderOutput(ModelOutput):
    """What a reader returns, one row a passage.

    Attributes:
        start_logits: float (passages, sequence), how well an answer begins at each token.
        end_logits: float (passages, sequence), how well it ends there.
        relevance_logits: float (passages,), how likely the passage is to hold the answer.
        hidden_states: layers + 1 arrays, float (passages, sequence, hidden); None unless asked for.
        attentions: layers arrays, float (passages, heads, sequence, sequence); None unless asked for.

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
        span_score: start logit + end logit, in the logits' own type.
        relevance_score: the passage's relevance logit.
        doc_id: the passage's row.
        start_index: first token of the span, counted from the row's beginning.
        end_index: its last token, inclusive.
        text: the decoded tokens.
    """

    span_score: Any
    relevance_score: Any
    doc_id: int
    start_index: int
    end_index: int
    text: str
