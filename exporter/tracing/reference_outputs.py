"""What the original answers over the grid that its graph is proved on: its own forward pass, with eager attention."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dpr_export.exporter.checkpoint.load import Original
from dpr_export.exporter.errors import ExportError
from dpr_export.models.artifact.reference_outputs import Example
from dpr_export.models.kinds import EMBEDS, IDS
from dpr_export.models.optional_outputs import NO_OPTIONAL_OUTPUTS, OptionalOutputs
from dpr_export.runtime.checks.parity import SHAPES, grid

REFERENCE_SHAPES = ((3, 7), (2, 16))
WORD_EMBEDDINGS = "word_embeddings"
_SEED = 21


def examples(
    original: Original,
    shapes: Sequence[tuple[int, int]] = SHAPES,
    optional_outputs: OptionalOutputs = NO_OPTIONAL_OUTPUTS,
    tokens: str = IDS,
) -> Iterator[Example]:
    """Yield one call a shape, with the original's outputs.

    Args:
        original: the model.
        shapes: (batch, sequence) each.
        optional_outputs: the outputs that are wanted besides its kind's.
        tokens: "input_ids", or "inputs_embeds" for calls with embeddings in their place.

    Raises:
        ExportError: the original itself gives something that is not finite.
    """
    for feeds in grid(original.kind, original.config, shapes):
        if tokens == EMBEDS:
            feeds = {EMBEDS: _near_words(original, feeds.pop(IDS)), **feeds}
        with torch.no_grad():
            outputs = original.model(
                **{name: torch.from_numpy(array) for name, array in feeds.items()},
                return_dict=True,
                output_hidden_states=optional_outputs.hidden_states,
                output_attentions=optional_outputs.attentions,
            )
        reference = {name: outputs[name].numpy() for name in original.kind.outputs}
        for field in optional_outputs.fields:
            reference |= {f"{field}.{number}": tensor.numpy() for number, tensor in enumerate(outputs[field])}
        for name, array in reference.items():
            if not np.isfinite(array).all():
                raise ExportError(f"the original's own {name} is not finite: its weights are damaged")
        yield Example(feeds, reference)


def _near_words(original: Original, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Embeddings, float32 (batch, sequence, hidden), as far from those of words as words are from each other."""
    (table,) = (
        weight.detach().numpy() for name, weight in original.model.named_parameters() if WORD_EMBEDDINGS in name
    )
    generator = np.random.default_rng(_SEED)
    moved = generator.normal(scale=table.std(), size=(*ids.shape, table.shape[1]))
    return np.asarray(table[ids] + moved, dtype=np.float32)
