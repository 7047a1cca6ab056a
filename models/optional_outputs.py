"""Outputs that a graph gives only where the export was asked for them: hidden states and attentions.

An ONNX graph's outputs are fixed when it is made, so what the original decides at each call is decided at export. They
are called as they stand in the output dataclass, with the layer's number: `hidden_states.0`, `attentions.11`. The
runtime reads from those names what a graph can give, and gathers them into the dataclass's tuples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

LENGTH_AXES = {"hidden_states": (1,), "attentions": (2, 3)}  # which of an output's axes are the sequence's length


@dataclass(frozen=True, slots=True)
class OptionalOutputs:
    """Which of them a graph gives.

    Attributes:
        hidden_states: the embeddings and each layer's output: layers + 1 times float32 (batch, sequence, hidden).
        attentions: each layer's probabilities: layers times float32 (batch, heads, sequence, sequence).

    >>> OptionalOutputs(hidden_states=True).names(layers=1), bool(OptionalOutputs())
    (('hidden_states.0', 'hidden_states.1'), False)
    """

    hidden_states: bool = False
    attentions: bool = False

    def __bool__(self) -> bool:
        return self.hidden_states or self.attentions

    @property
    def fields(self) -> tuple[str, ...]:
        """The output dataclass's fields that they fill."""
        return tuple(name for name in LENGTH_AXES if getattr(self, name))

    def names(self, layers: int) -> tuple[str, ...]:
        """The graph's outputs, of a model with so many layers."""
        counts = {"hidden_states": layers + 1, "attentions": layers}
        return tuple(f"{field}.{number}" for field in self.fields for number in range(counts[field]))


NO_OPTIONAL_OUTPUTS = OptionalOutputs()


def group_optional_outputs(output_names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The extra outputs that a graph gives, by field, in the order of the layers.

    >>> group_optional_outputs(["pooler_output", "attentions.0", "attentions.1"])
    {'attentions': ('attentions.0', 'attentions.1')}
    """
    found: dict[str, list[int]] = {}
    for name in output_names:
        field, _, number = name.partition(".")
        if field in LENGTH_AXES:
            found.setdefault(field, []).append(int(number))
    return {
        field: tuple(f"{field}.{number}" for number in sorted(found[field])) for field in LENGTH_AXES if field in found
    }


def unpadded_shape(name: str, shape: Sequence[int], length: int, token_outputs: Sequence[str]) -> tuple[int, ...]:
    """An output's shape when its sequences are `length` tokens long, and not padded further.

    Args:
        name: the output's name.
        shape: its shape as it is, batch first.
        length: the length.
        token_outputs: the outputs whose second axis is the sequence, besides the hidden states.

    >>> unpadded_shape("attentions.3", (2, 12, 8, 8), 5, ["start_logits"])
    (2, 12, 5, 5)
    """
    axes = (1,) if name in token_outputs else LENGTH_AXES.get(name.partition(".")[0], ())
    return tuple(length if axis in axes else size for axis, size in enumerate(shape))
