"""Python calls that are wrong: one clear line, and the model answers as before."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dpr_export.runtime import DPRContextEncoder, DPRQuestionEncoder, DPRReader
from tests.bad_input.calls import CALLS, GOOD, Case, Place


@pytest.fixture(scope="module")
def place(tiny: dict[str, Path]) -> Iterator[Place]:
    with (
        DPRQuestionEncoder.from_pretrained(tiny["question"]) as question,
        DPRContextEncoder.from_pretrained(tiny["context"]) as context,
        DPRReader.from_pretrained(tiny["reader"]) as reader,
    ):
        yield Place(question, context, reader, tiny)


@pytest.fixture(scope="module")
def before(place: Place) -> list[np.ndarray]:
    return [model(GOOD)[0] for model in (place.question, place.context, place.reader)]


@pytest.mark.parametrize("case", CALLS, ids=lambda case: case.name.replace(" ", "-"))
def test_it_is_refused_in_one_line_and_nothing_is_changed(place: Place, before: list[np.ndarray], case: Case) -> None:
    with pytest.raises(case.error, match=case.words) as refused:
        case.do(place)
    assert "\n" not in str(refused.value)
    after = [model(GOOD)[0] for model in (place.question, place.context, place.reader)]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_every_case_is_named_once() -> None:
    assert len({case.name for case in CALLS}) == len(CALLS) > 60
