"""Each attack we could think of fails in one clear line: nothing is run, nothing written, and memory is bounded."""

from importlib import import_module
from pathlib import Path

import pytest

from tests.conftest import copy_plain, write_checkpoint

pytestmark = pytest.mark.ci
ATTACKS = ("paths", "pickles", "bombs", "external_data", "links", "sizes")
SLOW = pytest.mark.slow
MARKS = {"sizes": (SLOW,)}


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, ())) for name in ATTACKS])
def test_an_attack_fails_in_one_line(name: str, tiny: dict[str, Path], tmp_path: Path) -> None:
    work = tmp_path / "work"
    write_checkpoint(work / "checkpoint", "reader")
    exported = copy_plain(tiny["reader"], tmp_path / "exported")
    before = {path: path.read_bytes() for path in exported.rglob("*") if path.is_file()}
    for line in import_module(f"tests.attacks.{name}").attack(exported, work):
        assert 20 < len(line) < 1000, line
        assert "\n" not in line
    assert {path: path.read_bytes() for path in exported.rglob("*") if path.is_file()} == before


def test_every_attack_is_tried() -> None:
    files = {path.stem for path in (Path(__file__).parent.parent / "attacks").glob("*.py")}
    assert files == {*ATTACKS, "victim"}
