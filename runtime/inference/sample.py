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
    """Return the least cosine of a session's outputs with the reference outputs, over all calls and outputs.

    Vectors are compared row by row. So are a reader's start and end logits, over each row's own tokens and less their
    mean, which moves no span. Its relevance logits are compared over all rows of a call together. Where lengths differ,
    a cosine is lowered by (|a| - |b|)² / (2 |a| |b|), since a scaled vector is wrong too.

    Args:
        session: runs the graph.
        kind: the kind of model.
        calls: the inputs, with the reference outputs.

    Returns:
        At most 1, for equal outputs; -1 if an output is not finite.
    """
    return min(value for call in calls for value in _cosines(kind, session.run(call.feeds), call))


def _cosines(kind: Kind, outputs: Outputs, call: Example) -> Iterator[float]:
    own = call.feeds["attention_mask"].astype(bool)
    for name in kind.outputs:
        found, expected = outputs[name], call.reference[name]
        if name in kind.token_outputs:
            for mask, row, other in zip(own, found[:, : own.shape[1]], expected, strict=True):
                yield _cosine(row[mask] - row[mask].mean(), other[mask] - other[mask].mean())
        elif found.ndim == 1:
            yield _cosine(found, expected)
        else:
            yield from map(_cosine, found, expected)


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    product = float(np.linalg.norm(one) * np.linalg.norm(other))
    if not np.isfinite(product):
        return -1.0
    return 1 - float(np.square(one - other).sum()) / (2 * product) if product else float(np.array_equal(one, other))
