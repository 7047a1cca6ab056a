"""A process that is killed, which no clean-up survives, leaves the old folder or the new one, and either is whole."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import copy_plain, write_checkpoint

ROOT = Path(__file__).parent.parent.parent


def killed(action: str, folder: Path, kills: int, seed: int = 0) -> dict[str, Any]:
    """Run the program `kills.py`, and return what it counted."""
    command = [sys.executable, "-m", "tests.hostile.kills", action, folder, "--kills", str(kills), "--seed", str(seed)]
    done = subprocess.run(map(str, command), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """A folder with two checkpoints of one kind, whose weights differ."""
    write_checkpoint(tmp_path / "old", "question", seed=0)
    write_checkpoint(tmp_path / "new", "question", seed=1)
    return tmp_path


def test_a_writer_killed_at_any_line_leaves_a_whole_folder(
    tiny: dict[str, Path], tiny_variants: dict[str, Path], tmp_path: Path
) -> None:
    copy_plain(tiny["question"], tmp_path / "old")
    (tmp_path / "new").symlink_to(tiny_variants["question"])
    lines = killed("lines", tmp_path, kills=0)
    assert lines["new"] > 10
    assert lines["force"] > 15
    assert lines["add"] > 20
    assert lines["rewrite"] > 5


def test_an_export_that_is_killed_leaves_the_old_folder_or_the_new_one(checkpoints: Path) -> None:
    seen = killed("force", checkpoints, kills=3, seed=1)
    assert seen["old"] + seen["new"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("action", ["new", "force", "variant"])
def test_of_thirty_kills_each_leaves_the_old_folder_or_the_new_one(action: str, checkpoints: Path) -> None:
    seen = killed(action, checkpoints, kills=30)
    assert seen["old"] + seen["new"] == 30
    assert seen["old"] >= 10
