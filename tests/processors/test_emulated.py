"""A folder with INT8 keeps its bounds on other processors: emulated, since few machines have them all.

All processors take minutes: pytest -m slow tests/processors. The quick case runs with those marked ci.
"""

import json
from pathlib import Path

import pytest

from tests.processors.emulation import PROCESSORS, CannotEmulateError, Processor, run_python

MEASURE = str(Path(__file__).with_name("measure.py"))


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("emulated")


def check(processor: Processor, downloads: Path, *folders: Path) -> None:
    try:
        done = run_python(processor, downloads, MEASURE, *map(str, folders))
    except CannotEmulateError as error:
        pytest.skip(str(error))
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 3 * len(folders), done.stderr[-2000:]
    for row in rows:
        assert row["passed"], row
        assert row["cosine"] >= 0.97, row
        if row["asked"] == "auto auto":
            preferred = "onnxruntime" if processor.features else "openvino"
            assert row["ran"] == f"{preferred} int8", row


@pytest.mark.ci
def test_int8_keeps_its_bounds_on_an_arm_processor(downloads: Path, demo_variants: Path) -> None:
    (processor,) = (each for each in PROCESSORS if each.name == "cortex-a76")
    check(processor, downloads, demo_variants)


@pytest.mark.slow
@pytest.mark.parametrize("processor", PROCESSORS, ids=lambda each: each.name)
def test_int8_keeps_its_bounds_on_every_processor(processor: Processor, downloads: Path, demo_variants: Path) -> None:
    check(processor, downloads, demo_variants)
