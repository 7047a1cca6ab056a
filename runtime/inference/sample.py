"""Measure a session on an exported folder's sample: a few real texts, with the PyTorch model's outputs.

A lossy graph that was accurate where it was exported need not be so on another processor, whose kernels differ.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.artifact.manifest import Variant
from dpr_export.models.artifact.reference_outputs import Example
from dpr_export.models.artifact.variants import BOUNDS
from dpr_export.models.kinds import Kind
from dpr_export.runtime.engines.session import Outputs, Session

_EXACT = 0.9999


def find_bound(variant: Variant, precision: str) -> float:
    """Return the least cosine on the sample that a variant may have, computed at a precision, on any machine."""
    if variant.accuracy_drop is not None:
        return variant.accuracy_drop.sample_bound
    return _EXACT if precision == variant.precision else BOUNDS["least_cosine"]


def measure_least_cosine(session: Session, kind: Kind, calls: Sequence[Example]) -> float:
    """Return the least cosine of a session's outputs with the reference outputs, over the rows of all calls.

    An encoder's vectors are compared. Of a reader, one vector for each row is: its start and end logits, over the row's
    own tokens and less their mean, which moves no span; and its relevance logit. Where lengths differ, a cosine is
    lowered by (|a| - |b|)² / (2 |a| |b|), since a scaled vector is wrong too.

    Args:
        session: runs the graph.
        kind: the kind of model.
        calls: the inputs, with the reference outputs.

    Returns:
        At most 1, for equal outputs; -1 if an output is not finite.
    """
    least = 1.0
    for call in calls:
        own = call.feeds["attention_mask"].astype(bool)
        found, expected = (_row_vectors(kind, outputs, own) for outputs in (session.run(call.feeds), call.reference))
        least = min(least, *map(_cosine, found, expected))
    return least


def _row_vectors(kind: Kind, outputs: Outputs, own: NDArray[np.bool_]) -> Iterator[NDArray[np.float32]]:
    """Yield a vector for each row; `own` says which tokens are its own, (batch, sequence)."""
    for row, mask in enumerate(own):
        parts = [np.atleast_1d(outputs[name][row]) for name in kind.outputs]
        for index, name in enumerate(kind.outputs):
            if name in kind.token_outputs:
                logits = parts[index][: len(mask)][mask]
                parts[index] = logits - logits.mean()
        yield np.concatenate(parts)


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    product = float(np.linalg.norm(one) * np.linalg.norm(other))
    if not np.isfinite(product):
        return -1.0
    return 1 - float(np.square(one - other).sum()) / (2 * product) if product else float(np.array_equal(one, other))
