"""A few seconds of what `python -m tests.hostile.soak` does for ten minutes."""

import sys
from pathlib import Path

import pytest

from tests.hostile.soak import ENGINES, SOAKED, Usage, grown, opened, soak

pytestmark = [
    pytest.mark.ci,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc"),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", SOAKED)
def test_eight_threads_on_one_session_get_what_one_thread_gets(kind: str, engine: str, tiny: dict[str, Path]) -> None:
    assert soak(tiny[kind] / "onnx" / "model.onnx", kind, engine, seconds=1.0) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_sessions_that_are_closed_leave_nothing_behind(engine: str, tiny: dict[str, Path]) -> None:
    assert opened(tiny["question"] / "onnx" / "model.onnx", "question", engine, count=8) == []


def test_growth_is_told() -> None:
    flat = [Usage(90.0, 5, 4), Usage(100.0, 5, 8), *[Usage(101.0, 5, 8)] * 8]
    assert grown(flat) == []
    assert grown([*flat, Usage(130.0, 5, 8)]) == ["memory grew from 101.0 to 130.0 MB"]
    assert grown([*flat, Usage(101.0, 6, 9)]) == ["open files grew from 5 to 6", "threads grew from 8 to 9"]
