"""A disk that becomes full at any step: one line that says so, and the folder that was there before, or none."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dpr_export.models.artifact.variants import MODEL_FILE
from tests.conftest import copy_plain, write_checkpoint

ROOT = Path(__file__).parent.parent.parent
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]


def no_small_disks() -> str | None:
    """Why no tmpfs can be mounted here, if so."""
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    tried = [*UNSHARE, "mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", "/mnt"]
    done = subprocess.run(tried, capture_output=True, text=True, check=False)
    return done.stderr.strip() or "mounting is not allowed" if done.returncode else None


NO_SMALL_DISKS = no_small_disks()
pytestmark = [
    pytest.mark.ci,
    pytest.mark.skipif(NO_SMALL_DISKS is not None, reason=f"no small disks: {NO_SMALL_DISKS}"),
]


@pytest.fixture
def folder(tiny: dict[str, Path], tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "checkpoint", "question")
    copy_plain(tiny["question"], tmp_path / "exported")
    return tmp_path


def on_disks(action: str, folder: Path, sizes: list[int]) -> list[dict[str, Any]]:
    """What the program `full_disk.py` found on disks of so many kB."""
    program = [sys.executable, "-m", "tests.hostile.full_disk", action, str(folder), *map(str, sizes)]
    done = subprocess.run([*UNSHARE, *program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def failures(found: list[dict[str, Any]], name: str) -> int:
    """How many disks were too small, each of which must have been told in one line."""
    failed = [one for one in found if one["code"]]
    for one in failed:
        assert one["code"] == 1, one
        assert "Traceback" not in one["said"], one["said"]
        lines = [line for line in one["said"].splitlines() if line.startswith(f"{name}: ")]
        assert lines == one["said"].splitlines()[-1:], one["said"]
        assert "the disk is full" in lines[0]
    return len(failed)


def assert_exported_whole_or_not(found: list[dict[str, Any]]) -> None:
    for one in found:
        assert (one["state"] is None) == (one["left"] == []) == (one["code"] == 1), one


def assert_added_or_as_before(found: list[dict[str, Any]], before: list[str]) -> None:
    for one in found:
        files = [file.removeprefix("out/") for file in one["left"] if file != "out/manifest.json"]
        assert one["state"]["files"] == files, one
        assert (files == before) == (one["code"] == 1), one


def test_an_export_to_a_full_disk_leaves_nothing(folder: Path) -> None:
    found = on_disks("export", folder, [40, 220])
    assert_exported_whole_or_not(found)
    assert failures(found, "dpr-export") == 2


def test_a_variant_that_does_not_fit_leaves_the_folder_as_it_was(folder: Path) -> None:
    found = on_disks("add", folder, [240])
    assert_added_or_as_before(found, sorted(_files(folder / "exported")))
    assert failures(found, "dpr-export") == 1


def test_vectors_that_do_not_fit_leave_no_file(folder: Path) -> None:
    found = on_disks("encode", folder, [4, 8, 32])
    assert failures(found, "dpr-runtime") == 2
    assert [one["left"] for one in found] == [[], [], ["out.npy"]]


@pytest.mark.slow
def test_an_export_fails_cleanly_at_every_size_of_disk(folder: Path) -> None:
    found = on_disks("export", folder, [4, *range(8, 48, 8), *range(100, 440, 20)])
    assert_exported_whole_or_not(found)
    assert 10 < failures(found, "dpr-export") < len(found)


@pytest.mark.slow
def test_a_variant_fails_cleanly_at_every_size_of_disk(folder: Path) -> None:
    found = on_disks("add", folder, list(range(200, 800, 20)))
    assert_added_or_as_before(found, sorted(_files(folder / "exported")))
    assert 5 < failures(found, "dpr-export") < len(found)


def _files(folder: Path) -> list[str]:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert MODEL_FILE in names
    return [name for name in names if name != "manifest.json"]
