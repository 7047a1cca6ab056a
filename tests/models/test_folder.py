"""An exported folder is written whole or not at all, and a damaged one is not opened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dpr_export.models import folder as folder_module
from dpr_export.models.folder import ExportedFolder, written_whole
from dpr_export.models.golden import Example, allowed_error, largest_error, read_golden, write_golden
from dpr_export.models.manifest import MANIFEST_FILE


def fill(folder: Path, content: str) -> None:
    (folder / MANIFEST_FILE).write_text("{}")
    (folder / "content").write_text(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "out"
    with written_whole(output) as making:
        fill(making, "new")
        assert not output.exists()
    assert (output / "content").read_text() == "new"
    assert names(tmp_path / "deep") == ["out"]
    assert output.stat().st_mode & 0o777 == 0o777 & ~folder_module._umask()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_folder_that_fails_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fail_halfway() -> None:
        with written_whole(tmp_path / "deep" / "deeper" / "out") as making:
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
        monkeypatch.setattr(folder_module.ctypes, "CDLL", lambda _: object())
    output = tmp_path / "out"
    with written_whole(output) as making:
        fill(making, "old")
    with pytest.raises(FileExistsError, match="exists: give another, or --force"), written_whole(output):
        pass
    with pytest.raises(ValueError, match="broken"), written_whole(output, force=True):
        raise ValueError("broken")
    assert (output / "content").read_text() == "old"
    with written_whole(output, force=True) as making:
        fill(making, "new")
    assert (output / "content").read_text() == "new"
    assert names(tmp_path) == ["out"]


def test_force_never_replaces_what_is_no_exported_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    for name in ("mine", "file"):
        refused = pytest.raises(FileExistsError, match="is not an exported folder: --force replaces only those")
        with refused, written_whole(tmp_path / name, force=True):
            pass
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_name_with_an_accent_may_be_replaced(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with written_whole(tmp_path / "modèle 1", force=True) as making:
            fill(making, content)
    assert (tmp_path / "modèle 1" / "content").read_text() == "new"


REPLACE = """
import sys
from pathlib import Path
from dpr_export.models.folder import written_whole
print("ready", flush=True)
while True:
    with written_whole(Path(sys.argv[1]), force=True) as making:
        for name in ("manifest.json", "a", "b"):
            (making / name).write_text("x" * 1000)
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


def test_golden_examples_read_back_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    example = Example({"input_ids": np.array([[1, 2]])}, {"pooler_output": np.array([[0.5]], np.float32)})
    write_golden(tmp_path / "golden.npz", [example, example])
    (first, second) = read_golden(tmp_path / "golden.npz")
    assert first.shape == second.shape == (1, 2)
    assert first.reference["pooler_output"].tolist() == [[0.5]]
    for content in (b"", b"PK\x03\x04", (tmp_path / "golden.npz").read_bytes()[:-40]):
        (tmp_path / "damaged.npz").write_bytes(content)
        with pytest.raises(ValueError, match="is damaged"):
            read_golden(tmp_path / "damaged.npz")
    np.savez(tmp_path / "pickled.npz", **{"0/feeds/input_ids": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(ValueError, match="is damaged"):
        read_golden(tmp_path / "pickled.npz")


def test_the_bound_is_float32_rounding_and_what_is_not_finite_is_out_of_it() -> None:
    reference = np.array([[3.0, -200.0]], np.float32)
    assert allowed_error(reference) == pytest.approx(1e-4 + 2e-3)
    assert largest_error(reference + np.float32(0.25), reference) == 0.25
    assert largest_error(reference[0], reference) == float("inf")
    assert largest_error(np.array([[np.nan, 1.0]]), reference) == float("inf")
