"""What the original answers over the grid that its graph is proved on: its own forward pass, with eager attention."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from dpr_export.exporter.errors import ExportError
from dpr_export.exporter.load import Original
from dpr_export.models.golden import Example
from dpr_export.runtime.proof import SHAPES, grid

GOLDEN_SHAPES = ((3, 7), (2, 16))


def examples(original: Original, shapes: Sequence[tuple[int, int]] = SHAPES) -> Iterator[Example]:
    """Yield one call a shape, with the original's outputs.

    Raises:
        ExportError: the original itself gives something that is not finite.
    """
    for feeds in grid(original.kind, original.config, shapes):
        with torch.no_grad():
            outputs = original.model(**{k: torch.from_numpy(array) for k, array in feeds.items()}, return_dict=True)
        reference = {name: outputs[name].numpy() for name in original.kind.outputs}
        for name, array in reference.items():
            if not np.isfinite(array).all():
                raise ExportError(f"the original's own {name} is not finite: its weights are damaged")
        yield Example(feeds, reference)
