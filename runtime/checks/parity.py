"""The parity check: compare a session's outputs with reference outputs, over a grid of sizes and masks.

Ids and masks are drawn independently: some masked tokens have ordinary ids, and some padding ids are not masked. So a
graph that computes its mask from the ids, or ignores the mask, fails.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from dpr_export.models.artifact.manifest import ParityResult
from dpr_export.models.artifact.reference_outputs import ATOL, Example, largest_error, tolerance_for
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import Kind
from dpr_export.runtime.engines.session import Feeds, Outputs, Session

SHAPES = ((1, 1), (1, 1 << 30), (3, 7), (8, 128))  # (batch, sequence); `make_grid` cuts lengths to the model's longest
_SEED = 20


class ParityError(RuntimeError):
    """A graph's outputs differ from the reference outputs by more than the tolerance. The message is one line."""


def make_grid(kind: Kind, config: DPRConfig, shapes: Sequence[tuple[int, int]] = SHAPES) -> Iterator[Feeds]:
    """Yield the inputs of one call for each shape (batch, sequence); lengths are cut to the model's longest.

    Ids and token types are random. In each batch row 0 is full, row 1 is masked altogether, row 2 is masked in its
    middle and at its end, and the others end at random places. Masked tokens have the padding id in even rows, and any
    ids in odd ones.
    """
    generator = np.random.default_rng(_SEED)
    padding = config.pad_token_id or 0
    for batch, sequence in shapes:
        length = min(sequence, config.max_position_embeddings)
        ends = generator.integers(1, length + 1, size=batch)
        ends[:3] = (length, 0, max(1, length - 2))[:batch]
        mask = (np.arange(length) < ends[:, None]).astype(np.int64)
        if batch > 2:
            mask[2, length // 3 : length // 2] = 0
        ids = generator.integers(0, config.vocab_size, size=(batch, length))
        even = np.arange(batch)[:, None] % 2 == 0
        ids = np.where(even & (mask == 0), padding, ids)
        ids[:, length // 2] = padding  # masked in some rows, and not masked in others
        values = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": generator.integers(0, config.type_vocab_size, size=(batch, length)),
        }
        yield {name: values[name] for name in kind.inputs}


def check_parity(
    session: Session, calls: Sequence[Example], atol: float = ATOL, reference_error: float = 0.0
) -> ParityResult:
    """Check a session's outputs against transformers' outputs, or against outputs of known distance to those.

    Args:
        session: runs the graph.
        calls: the inputs and the reference outputs.
        atol: the absolute part of the tolerance.
        reference_error: the largest error of the reference outputs themselves; it is added to every difference.

    Raises:
        ParityError: an output differs by more than `atol + 1e-5 x max|reference|`, or has another shape or type; or the
            graph does not run.
    """
    worst, share = 0.0, 0.0
    for call in calls:
        for name, error in measure_errors(session, call).items():
            difference = error + reference_error
            tolerance = tolerance_for(call.reference[name], atol)
            if not difference <= tolerance:
                batch, length = call.shape
                raise ParityError(
                    f"parity check failed: {name} at {batch} x {length} differs from the reference by "
                    f"{difference:.2e}, and the tolerance is {tolerance:.2e}, on {session.engine}"
                )
            worst, share = max(worst, difference), max(share, difference / tolerance)
    return ParityResult(session.engine, tuple(call.shape for call in calls), atol, worst, share)


def check_finite(session: Session, calls: Sequence[Example]) -> float:
    """Return the largest error over all outputs and calls, all of which must be finite, whatever the mask.

    Raises:
        ParityError: as `measure_errors`, or an output is not finite or has a wrong shape.
    """
    largest = 0.0
    for call in calls:
        for name, error in measure_errors(session, call).items():
            if error == float("inf"):
                raise ParityError(f"{name} at {call.shape[0]} x {call.shape[1]} has a wrong shape, or is not finite")
            largest = max(largest, error)
    return largest


def measure_errors(session: Session, call: Example) -> dict[str, float]:
    """Return the largest absolute error of each output; infinite if a number is not finite or the shape is wrong.

    If the session pads calls, rows that are masked altogether must be finite, and are not compared.

    Raises:
        ParityError: the graph does not run, or an output has another name or type.
    """
    outputs = _run(session, call)
    worst = {name: largest_error(outputs[name], reference) for name, reference in call.reference.items()}
    if session.pads and np.isfinite(list(worst.values())).all():
        read = call.feeds["attention_mask"].any(axis=1)
        worst = {name: largest_error(outputs[name][read], call.reference[name][read]) for name in worst}
    return worst


def _run(session: Session, call: Example) -> Outputs:
    """Run a call, and check the names and types of its outputs."""
    batch, length = call.shape
    try:
        outputs = session.run(call.feeds)
    except Exception as error:  # engines raise what they like
        raise ParityError(f"parity check failed: the graph does not run at {batch} x {length}: {error}") from None
    if outputs.keys() != call.reference.keys():
        raise ParityError(f"parity check failed: the graph's outputs are {', '.join(outputs)}")
    for name, reference in call.reference.items():
        if outputs[name].dtype != reference.dtype:
            raise ParityError(f"parity check failed: {name} is of type {outputs[name].dtype}, not {reference.dtype}")
    return outputs
