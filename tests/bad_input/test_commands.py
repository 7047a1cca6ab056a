"""Exported folders and checkpoints that are damaged or hostile, and commands used wrongly: one clear line each."""

import pickle
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpr_export.exporter.cli import main as dpr_export
from dpr_export.runtime.cli.app import main as dpr_runtime
from tests.bad_input.damage import MARK, Broken, Payload
from tests.bad_input.folders import CHECKPOINTS, FOLDERS, USAGE
from tests.conftest import copy_plain, write_checkpoint

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """A function that runs a command in this process, in an empty folder: exit code, output, errors."""
    (tmp_path / "here").mkdir()

    def called(main: Callable[[], Any], *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [main.__module__.split(".")[1], *map(str, arguments)])
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.chdir(tmp_path / "here")
        with pytest.raises(SystemExit) as exited:
            main()
        return int(exited.value.code or 0), *capfd.readouterr()

    return called


@pytest.mark.parametrize("broken", FOLDERS, ids=lambda broken: broken.name.replace(" ", "-"))
def test_a_broken_folder_ends_in_one_clear_line(
    tiny: dict[str, Path], tmp_path: Path, command: Command, broken: Broken
) -> None:
    folder = copy_plain(tiny["reader"], tmp_path / "folder")
    broken.damage(folder)
    before = sorted(tmp_path.rglob("*"))
    verb, *rest = broken.arguments
    code, out, err = command(dpr_runtime, verb, folder, *rest)
    said = out + err
    assert "Traceback" not in said
    if verb == "verify":
        assert any(re.search(broken.words, line) for line in said.splitlines()), said
        if code == 1:
            assert "FAILED" in said
    else:
        assert code == 1
        assert err.count("\n") == 1, err
        assert err.startswith("dpr-runtime: ")
        assert re.search(broken.words, err), err
    assert sorted(tmp_path.rglob("*")) == before
    assert not (tmp_path / "here" / MARK).exists()


@pytest.mark.parametrize("broken", CHECKPOINTS, ids=lambda broken: broken.name.replace(" ", "-"))
def test_a_broken_checkpoint_ends_in_one_clear_line_and_leaves_nothing(
    tmp_path: Path, command: Command, broken: Broken
) -> None:
    here = tmp_path / "here"
    source = write_checkpoint(here / "it", "question")
    broken.damage(here if broken.arguments[:1] == ("-o",) else source)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = command(dpr_export, "it", *broken.arguments)
    lines = [line for line in err.splitlines() if line.startswith("dpr-export: ")]
    assert (code, len(lines)) == (1, 1), out + err
    assert "Traceback" not in out + err
    assert re.search(broken.words, lines[0]), lines[0]
    assert sorted(tmp_path.rglob("*")) == before
    assert not (here / MARK).exists()


@pytest.mark.parametrize(
    ("main", "arguments", "code", "words"), USAGE, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_a_command_that_is_used_wrongly_ends_in_one_clear_line(
    tiny: dict[str, Path],
    tmp_path: Path,
    command: Command,
    main: Any,
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    here = tmp_path / "here"
    (here / "a.txt").write_text("no json\n")
    (here / "empty.jsonl").write_text("")
    (here / "bytes.txt").write_bytes(b"who\xff\n")
    (here / "passages.tsv").write_text("hamlet\n")
    before = sorted(tmp_path.rglob("*"))
    folders = {"READER": tiny["reader"], "QUESTION": tiny["question"]}
    folders["QUESTION-CHECKPOINT"] = tiny["question"].with_name("question-checkpoint")
    found, out, err = command(main, *(folders.get(argument, argument) for argument in arguments))
    assert found == code, out + err
    (line,) = err.splitlines()
    assert line.startswith(("dpr-export: ", "dpr-runtime: "))
    assert re.search(words, line), line
    assert not out
    assert sorted(tmp_path.rglob("*")) == before


def test_the_payload_would_leave_its_mark_if_it_were_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Payload()))
    assert (tmp_path / MARK).exists()


def test_every_case_is_named_once() -> None:
    cases = [broken.name for broken in (*FOLDERS, *CHECKPOINTS)]
    assert len(set(cases)) == len(cases)
    assert len(set(USAGE)) == len(USAGE)
