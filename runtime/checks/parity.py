"""Compare what a session computes with what is known to be right, over a grid of sizes and masks.

Every output must agree within float32's rounding at sizes that the graph was not traced at. Masks and ids are drawn
apart: real ids stand behind the mask, and padding ids before it, so that a graph which makes its mask of the ids, or
the other way round, is found out.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from dpr_export.models.artifact.manifest import ParityResult
from dpr_export.models.artifact.reference_outputs import ATOL, Example, largest_error, tolerance_for
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import Kind
from dpr_export.runtime.engines.session import Feeds, Outputs, Session

LONGEST = 1 << 30
SHAPES = ((1, 1), (1, LONGEST), (3, 7), (8, 128))  # the longest is cut to the model's positions, as all lengths are
_SEED = 20


class ParityError(RuntimeError):
    """A graph does not compute what it should. The message is one line for people."""


def grid(kind: Kind, config: DPRConfig, shapes: Sequence[tuple[int, int]] = SHAPES) -> Iterator[Feeds]:
    """Yield one call a shape, int64 (batch, sequence). Lengths are cut to the model's positions.

    Ids and token types are random. Of a batch, row 0 is full, row 1 all masked, row 2 is masked in its middle as well
    as at its end, and the others end at random places. Even rows have padding ids behind the mask, odd ones any ids.
    """
    generator = np.random.default_rng(_SEED)
    padding = config.pad_token_id or 0
    for batch, wanted in shapes:
        length = min(wanted, config.max_position_embeddings)
        ends = generator.integers(1, length + 1, size=batch)
        ends[:3] = (length, 0, max(1, length - 2))[:batch]
        mask = (np.arange(length) < ends[:, None]).astype(np.int64)
        if batch > 2:
            mask[2, length // 3 : length // 2] = 0
        ids = generator.integers(0, config.vocab_size, size=(batch, length))
        even = np.arange(batch)[:, None] % 2 == 0
        ids = np.where(even & (mask == 0), padding, ids)
        ids[:, length // 2] = padding  # behind the mask in some rows, and before it in others
        values = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": generator.integers(0, config.type_vocab_size, size=(batch, length)),
        }
        yield {name: values[name] for name in kind.inputs}


def check_parity(
    session: Session, calls: Sequence[Example], atol: float = ATOL, reference_error: float = 0.0
) -> ParityResult:
    """Compare a session's outputs with the original's, or with outputs that are known to be near those.

    Args:
        session: what runs the graph.
        calls: the inputs and the outputs to compare with.
        atol: the absolute part of the bound.
        reference_error: how far those outputs may be from the original's; it is added to every difference.

    Raises:
        ParityError: an output differs by more than `atol + 1e-5 x max|reference|`, has another shape or type, or the
            graph does not run.
    """
    worst, share = 0.0, 0.0
    for call in calls:
        for name, found in errors(session, call).items():
            difference = found + reference_error
            bound = tolerance_for(call.reference[name], atol)
            if not difference <= bound:
                batch, length = call.shape
                raise ParityError(
                    f"not proved: {name} at {batch} x {length} differs from the original by {difference:.2e}, "
                    f"and {bound:.2e} is allowed, on {session.engine}"
                )
            worst, share = max(worst, difference), max(share, difference / bound)
    return ParityResult(session.engine, tuple(call.shape for call in calls), atol, worst, share)


def relative_error(session: Session, calls: Sequence[Example]) -> float:
    """How far a session's outputs are from the right ones, as a share of their size, over all outputs and calls.

    The root of the squared error over the squared size: 0 where all is equal, 1 where all outputs are zero. Rows that
    are masked altogether count only in that they must be finite; just exact arithmetic agrees on what they give.

    Raises:
        ParityError: as `errors`, or an output is not finite or has a wrong shape.
    """
    wrong, size = 0.0, 0.0
    for call in calls:
        outputs = _outputs(session, call)
        read = call.feeds["attention_mask"].any(axis=1)
        for name, reference in call.reference.items():
            if not np.isfinite(largest_error(outputs[name], reference)):
                raise ParityError(f"{name} at {call.shape[0]} x {call.shape[1]} has a wrong shape, or is not finite")
            wrong += float(np.square(outputs[name][read] - reference[read].astype(np.float64)).sum())
            size += float(np.square(reference[read].astype(np.float64)).sum())
    return float(np.sqrt(wrong / size)) if size else wrong


def errors(session: Session, call: Example) -> dict[str, float]:
    """The largest absolute difference of each output; infinite where a number is not finite or the shape is wrong.

    Of a session that pads calls, rows that are masked altogether count only in that they must be finite.

    Raises:
        ParityError: the graph does not run, or an output has another name or type.
    """
    outputs = _outputs(session, call)
    worst = {name: largest_error(outputs[name], reference) for name, reference in call.reference.items()}
    if session.pads and np.isfinite(list(worst.values())).all():
        read = call.feeds["attention_mask"].any(axis=1)
        worst = {name: largest_error(outputs[name][read], call.reference[name][read]) for name in worst}
    return worst


def _outputs(session: Session, call: Example) -> Outputs:
    """A call's outputs, of the names and types that they should have."""
    batch, length = call.shape
    try:
        outputs = session.run(call.feeds)
    except Exception as error:  # engines raise what they like
        raise ParityError(f"not proved: the graph does not run at {batch} x {length}: {error}") from None
    if outputs.keys() != call.reference.keys():
        raise ParityError(f"not proved: the graph's outputs are {', '.join(outputs)}")
    for name, reference in call.reference.items():
        if outputs[name].dtype != reference.dtype:
            raise ParityError(f"not proved: {name} is of type {outputs[name].dtype}, not {reference.dtype}")
    return outputs
