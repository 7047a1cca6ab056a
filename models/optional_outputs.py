"""The optional outputs of a graph: hidden states and attentions.

They are fixed at export, while transformers decides at each call. An output is named after its field in the output
dataclass and its layer, such as `hidden_states.0`; the runtime gathers them into the tuples of the dataclass.
"""

from collections.abc import Sequence
from dataclasses import dataclass

LENGTH_AXES = {"hidden_states": (1,), "attentions": (2, 3)}  # the axes that have the length of the sequence


@dataclass(frozen=True, slots=True)
class OptionalOutputs:
    """The optional outputs of a graph.

    Attributes:
        hidden_states: the embeddings and the output of each layer: layers + 1 times float32 (batch, sequence, hidden).
        attentions: the probabilities of each layer: layers times float32 (batch, heads, sequence, sequence).

    >>> OptionalOutputs(hidden_states=True).names(layers=1), bool(OptionalOutputs())
    (('hidden_states.0', 'hidden_states.1'), False)
    """

    hidden_states: bool = False
    attentions: bool = False

    def __bool__(self) -> bool:
        return self.hidden_states or self.attentions

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the output dataclass that are filled."""
        return tuple(name for name in LENGTH_AXES if getattr(self, name))

    def names(self, layers: int) -> tuple[str, ...]:
        """Return the names of the outputs, for a model with `layers` layers."""
        counts = {"hidden_states": layers + 1, "attentions": layers}
        return tuple(f"{field}.{number}" for field in self.fields for number in range(counts[field]))


NO_OPTIONAL_OUTPUTS = OptionalOutputs()


def group_optional_outputs(output_names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the optional outputs among a graph's outputs, by field, in the order of the layers.

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
    """Return the shape of an output, batch first, without the padding after `length` tokens.

    >>> unpadded_shape("attentions.3", (2, 12, 8, 8), 5, ["start_logits"])
    (2, 12, 5, 5)
    """
    axes = (1,) if name in token_outputs else LENGTH_AXES.get(name.partition(".")[0], ())
    return tuple(length if axis in axes else size for axis, size in enumerate(shape))
