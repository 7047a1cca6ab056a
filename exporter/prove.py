"""Prove that a graph computes what the original does.

Both run the same inputs over a grid of sizes that the traced shape is not part of, and every output must agree within
float32's rounding. The original runs its own forward pass, in transformers, with eager attention.

Masks and ids are drawn apart: real ids stand behind the mask, and padding ids before it, so that a graph which makes
its mask of the ids, or the other way round, is found out.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from dpr_export.exporter.errors import ExportError
from dpr_export.exporter.load import Original
from dpr_export.models.golden import ATOL, Example, allowed_error, largest_error
from dpr_export.models.manifest import Proof
from dpr_export.runtime.session import Session

LONGEST = 1 << 30
SHAPES = ((1, 1), (1, LONGEST), (3, 7), (8, 128))  # the longest is cut to the model's positions, as all lengths are
GOLDEN_SHAPES = ((3, 7), (2, 16))
_SEED = 20


def examples(original: Original, shapes: Sequence[tuple[int, int]] = SHAPES) -> Iterator[Example]:
    """Yield one call a shape, with the original's outputs. Lengths are cut to the model's positions.

    Raises:
        ExportError: the original itself gives something that is not finite.
    """
    generator = np.random.default_rng(_SEED)
    for batch, length in shapes:
        feeds = _feeds(original, batch, min(length, original.config.max_position_embeddings), generator)
        with torch.no_grad():
            outputs = original.model(**{k: torch.from_numpy(array) for k, array in feeds.items()}, return_dict=True)
        reference = {name: outputs[name].numpy() for name in original.kind.outputs}
        for name, array in reference.items():
            if not np.isfinite(array).all():
                raise ExportError(f"the original's own {name} is not finite: its weights are damaged")
        yield Example(feeds, reference)


def _feeds(original: Original, batch: int, length: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Random ids and token types. Of a batch, row 0 is full, row 1 all masked, row 2 is masked in its middle as well as
    at its end, and the others end at random places. Even rows have padding ids behind the mask, odd ones any ids."""
    config = original.config
    ends = generator.integers(1, length + 1, size=batch)
    ends[:3] = (length, 0, max(1, length - 2))[:batch]
    mask = (np.arange(length) < ends[:, None]).astype(np.int64)
    if batch > 2:
        mask[2, length // 3 : length // 2] = 0
    ids = generator.integers(0, config.vocab_size, size=(batch, length))
    even = np.arange(batch)[:, None] % 2 == 0
    ids = np.where(even & (mask == 0), config.pad_token_id or 0, ids)
    ids[:, length // 2] = config.pad_token_id or 0  # behind the mask in some rows, and before it in others
    values = {
        "input_ids": ids,
        "attention_mask": mask,
        "token_type_ids": generator.integers(0, config.type_vocab_size, size=(batch, length)),
    }
    return {name: values[name] for name in original.kind.inputs}


def prove(session: Session, calls: Sequence[Example], atol: float = ATOL) -> Proof:
    """Compare a session's outputs with the original's.

    Args:
        session: what runs the graph.
        calls: the inputs and the original's outputs.
        atol: the absolute part of the bound.

    Raises:
        ExportError: an output differs by more than `atol + 1e-5 x max|reference|`, has another shape or type, or the
            graph does not run.
    """
    worst, share = 0.0, 0.0
    for call in calls:
        batch, length = call.shape
        try:
            outputs = session.run(call.feeds)
        except Exception as error:  # engines raise what they like
            raise ExportError(f"not proved: the graph does not run at {batch} x {length}: {error}") from None
        if outputs.keys() != call.reference.keys():
            raise ExportError(f"not proved: the graph's outputs are {', '.join(outputs)}")
        for name, reference in call.reference.items():
            if outputs[name].dtype != reference.dtype:
                raise ExportError(f"not proved: {name} is of type {outputs[name].dtype}, not {reference.dtype}")
            difference, bound = largest_error(outputs[name], reference), allowed_error(reference, atol)
            if not difference <= bound:
                raise ExportError(
                    f"not proved: {name} at {batch} x {length} differs from PyTorch by {difference:.2e}, "
                    f"and {bound:.2e} is allowed"
                )
            worst, share = max(worst, difference), max(share, difference / bound)
    return Proof(session.engine, tuple(call.shape for call in calls), atol, worst, share)
