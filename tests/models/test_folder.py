"""An exported folder is written whole or not at all, and a damaged one is not opened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dpr_export.models.artifact import atomic_writing as writing
from dpr_export.models.artifact.atomic_writing import atomic_file, atomic_folder
from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import MANIFEST_FILE, is_exported_folder
from dpr_export.models.artifact.reference_outputs import (
    Example,
    largest_error,
    read_reference_outputs,
    tolerance_for,
    write_reference_outputs,
)


def fill(folder: Path, content: str) -> None:
    (folder / MANIFEST_FILE).write_text('{"schema": 9, "kind": "", "variants": [], "files": {}}')
    (folder / "content").write_text(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "out"
    with atomic_folder(output) as making:
        fill(making, "new")
        assert not output.exists()
    assert (output / "content").read_text() == "new"
    assert names(tmp_path / "deep") == ["out"]
    assert output.stat().st_mode & 0o777 == 0o777 & ~writing.read_umask()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_folder_that_fails_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fail_halfway() -> None:
        with atomic_folder(tmp_path / "deep" / "deeper" / "out") as making:
            fill(making, "half")
            raise error

    with pytest.raises(error):
        fail_halfway()
    assert names(tmp_path) == []


@pytest.mark.parametrize("can_exchange", [True, False])
def test_an_exported_folder_is_replaced_only_with_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(writing.ctypes, "CDLL", lambda _: object())
    output = tmp_path / "out"
    with atomic_folder(output) as making:
        fill(making, "old")
    with (
        pytest.raises(FileExistsError, match=r"exists: give another, or replace it with force \(--force\)"),
        atomic_folder(output),
    ):
        pass
    with pytest.raises(ValueError, match="broken"), atomic_folder(output, True, is_exported_folder):
        raise ValueError("broken")
    assert (output / "content").read_text() == "old"
    with atomic_folder(output, True, is_exported_folder) as making:
        fill(making, "new")
    assert (output / "content").read_text() == "new"
    assert names(tmp_path) == ["out"]


def test_force_never_replaces_what_is_no_exported_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    (tmp_path / "extension").mkdir()
    (tmp_path / "extension" / MANIFEST_FILE).write_text('{"manifest_version": 3, "name": "of a browser"}')
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("mine", "file", "extension", "link"):
        refused = pytest.raises(FileExistsError, match="is not an exported folder: --force replaces only those")
        with refused, atomic_folder(tmp_path / name, True, is_exported_folder):
            pass
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_what_a_link_points_to_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "real") as making:
        fill(making, "old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_folder(tmp_path / "link", True, is_exported_folder) as making:
        fill(making, "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "content").read_text() == "new"
    assert names(tmp_path) == ["link", "real"]


def test_a_parent_that_others_use_meanwhile_stays(tmp_path: Path) -> None:
    def fail_beside_another() -> None:
        with atomic_folder(tmp_path / "new" / "out"):
            (tmp_path / "new" / "other").mkdir()
            raise ValueError("the real error")

    with pytest.raises(ValueError, match="the real error"):
        fail_beside_another()
    assert names(tmp_path / "new") == ["other"]


def test_a_file_is_written_whole_through_a_link_and_with_the_umask(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    before = os.umask(0o077)
    try:
        with atomic_file(tmp_path / "link") as file:
            file.write(b"whole")
    finally:
        os.umask(before)
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600

    def fail_halfway() -> None:
        with atomic_file(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_halfway()
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert names(tmp_path) == ["file", "link"]


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        with atomic_file(tmp_path / "pipe") as file:
            file.write(b"through")
        assert reader.communicate()[0] == b"through"
    assert (tmp_path / "pipe").is_fifo()


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    for output, message in ((tmp_path, "is a folder: give a file"), (tmp_path / "no" / "file", "there is no folder")):
        with pytest.raises(OSError, match=message), atomic_file(output):
            pass


def test_a_name_with_an_accent_may_be_replaced(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "modèle 1", True, is_exported_folder) as making:
            fill(making, content)
    assert (tmp_path / "modèle 1" / "content").read_text() == "new"


REPLACE = """
import sys
from pathlib import Path
from dpr_export.models.artifact.atomic_writing import atomic_folder
from dpr_export.models.artifact.manifest import is_exported_folder
print("ready", flush=True)
while True:
    with atomic_folder(Path(sys.argv[1]), True, is_exported_folder) as making:
        for name in ("a", "b", "manifest.json"):
            (making / name).write_text('{"schema": 1, "kind": 1, "variants": 1, "files": 1}'.ljust(1000))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux swaps two folders in one step")
def test_a_replacement_that_is_killed_leaves_a_whole_folder(tmp_path: Path) -> None:
    for kill in range(8):
        process = subprocess.Popen([sys.executable, "-c", REPLACE, str(tmp_path / "out")], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.02 + 0.013 * kill)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert names(tmp_path / "out") == ["a", "b", "manifest.json"]
        assert all(path.stat().st_size == 1000 for path in (tmp_path / "out").iterdir())


def test_what_is_no_exported_folder_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"is not an exported folder: it has no manifest\.json"):
        ExportedFolder.open(tmp_path)
    (tmp_path / MANIFEST_FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        ExportedFolder.open(tmp_path)


def test_reference_outputs_are_read_back_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    feeds = {"input_ids": np.array([[1, 2]]), "attention_mask": np.array([[1, 1]])}
    example = Example(feeds, {"pooler_output": np.array([[0.5]], np.float32)})
    write_reference_outputs(tmp_path / "reference_outputs.npz", [example, example])
    (first, second) = read_reference_outputs(tmp_path / "reference_outputs.npz")
    assert first.shape == second.shape == (1, 2)
    assert first.reference["pooler_output"].tolist() == [[0.5]]
    for content in (b"", b"PK\x03\x04", (tmp_path / "reference_outputs.npz").read_bytes()[:-40]):
        (tmp_path / "damaged.npz").write_bytes(content)
        with pytest.raises(ValueError, match="is damaged"):
            read_reference_outputs(tmp_path / "damaged.npz")
    np.savez(tmp_path / "pickled.npz", **{"0/feeds/input_ids": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(ValueError, match="is damaged"):
        read_reference_outputs(tmp_path / "pickled.npz")


def test_the_bound_is_float32_rounding_and_what_is_not_finite_is_out_of_it() -> None:
    reference = np.array([[3.0, -200.0]], np.float32)
    assert tolerance_for(reference) == pytest.approx(1e-4 + 2e-3)
    assert largest_error(reference + np.float32(0.25), reference) == 0.25
    assert largest_error(reference[0], reference) == float("inf")
    assert largest_error(np.array([[np.nan, 1.0]]), reference) == float("inf")
