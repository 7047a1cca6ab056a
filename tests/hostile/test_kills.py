"""A process that is killed, which no clean-up survives, leaves the old folder or the new one, and either is whole."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dpr_export.models.artifact.folder import ExportedFolder, add_files
from tests.conftest import copy_plain, write_checkpoint

pytestmark = pytest.mark.ci

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


@pytest.fixture
def folders(tiny: dict[str, Path], tmp_path: Path) -> Path:
    """A folder with an exported one and the same with a variant more."""
    copy_plain(tiny["question"], tmp_path / "old")
    new = ExportedFolder.open(copy_plain(tiny["question"], tmp_path / "new"))
    (tmp_path / "made" / "onnx").mkdir(parents=True)
    shutil.copy(new.path / "onnx" / "model.onnx", tmp_path / "made" / "onnx" / "model_int8.onnx")
    lossy = replace(new.manifest.variants[0], precision="int8", file="onnx/model_int8.onnx")
    add_files(new, [lossy], tmp_path / "made")
    return tmp_path


def test_a_writer_killed_at_any_line_leaves_a_whole_folder(folders: Path) -> None:
    lines = killed("lines", folders, kills=0)
    assert lines["new"] > 10
    assert lines["force"] > 15
    assert lines["add"] > 20
    assert lines["rewrite"] > 5


def test_an_export_that_is_killed_leaves_the_old_folder_or_the_new_one(
    tiny: dict[str, Path], checkpoints: Path
) -> None:
    shutil.copytree(tiny["question"], checkpoints / "out")
    seen = killed("force", checkpoints, kills=2, seed=1)
    assert seen["old"] + seen["new"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("action", ["new", "force", "variant"])
def test_of_thirty_kills_each_leaves_the_old_folder_or_the_new_one(action: str, checkpoints: Path) -> None:
    seen = killed(action, checkpoints, kills=30)
    assert seen["old"] + seen["new"] == 30
    assert seen["old"] >= 10
