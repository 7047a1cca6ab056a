"""Run the PyTorch model on the inputs of the parity check: transformers' own forward pass, with eager attention."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dpr_export.exporter.checkpoint.load import LoadedCheckpoint
from dpr_export.exporter.errors import ExportError
from dpr_export.models.artifact.reference_outputs import Arrays, Example
from dpr_export.models.kinds import EMBEDS, IDS
from dpr_export.models.optional_outputs import NO_OPTIONAL_OUTPUTS, OptionalOutputs
from dpr_export.runtime.checks.parity import SHAPES, make_grid

REFERENCE_SHAPES = ((3, 7), (2, 16))
WORD_EMBEDDINGS = "word_embeddings"
_SEED = 21


def run_pytorch(
    loaded: LoadedCheckpoint,
    shapes: Sequence[tuple[int, int]] = SHAPES,
    optional_outputs: OptionalOutputs = NO_OPTIONAL_OUTPUTS,
    tokens: str = IDS,
) -> Iterator[Example]:
    """Yield one call for each shape (batch, sequence), with PyTorch's outputs.

    Raises:
        ExportError: an output of PyTorch is not finite.
    """
    grid = make_grid(loaded.kind, loaded.config, shapes)
    if tokens == EMBEDS:
        grid = ({EMBEDS: _draw_embeddings(loaded, feeds.pop(IDS)), **feeds} for feeds in grid)
    yield from run_calls(loaded, grid, optional_outputs)


def run_calls(
    loaded: LoadedCheckpoint, calls: Iterable[Arrays], optional_outputs: OptionalOutputs = NO_OPTIONAL_OUTPUTS
) -> Iterator[Example]:
    """Yield calls with PyTorch's outputs. Raises as `run_pytorch`."""
    for feeds in calls:
        with torch.no_grad():
            outputs = loaded.model(
                **{name: torch.from_numpy(array) for name, array in feeds.items()},
                return_dict=True,
                output_hidden_states=optional_outputs.hidden_states,
                output_attentions=optional_outputs.attentions,
            )
        reference = {name: outputs[name].numpy() for name in loaded.kind.outputs}
        for field in optional_outputs.fields:
            reference |= {f"{field}.{number}": tensor.numpy() for number, tensor in enumerate(outputs[field])}
        for name, array in reference.items():
            if not np.isfinite(array).all():
                raise ExportError(f"{name} is not finite in PyTorch: the checkpoint's weights are damaged")
        yield Example(feeds, reference)


def _draw_embeddings(loaded: LoadedCheckpoint, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Draw inputs_embeds, float32 (batch, sequence, hidden): those of the ids, moved as far as words are apart."""
    (table,) = (weight.detach().numpy() for name, weight in loaded.model.named_parameters() if WORD_EMBEDDINGS in name)
    generator = np.random.default_rng(_SEED)
    moved = generator.normal(scale=table.std(), size=(*ids.shape, table.shape[1]))
    return np.asarray(table[ids] + moved, dtype=np.float32)
