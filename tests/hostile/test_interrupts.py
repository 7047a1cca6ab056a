"""Ctrl-C at any moment of a command: exit code 130, one line, and nothing half-written."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from dpr_export.runtime.cli.run_command import run_command
from tests.conftest import write_checkpoint

pytestmark = pytest.mark.ci

BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
STEPS = ("load", "trace", "compute reference outputs", "check onnx/model.onnx on openvino", "make onnx/model_ort.onnx")
CALLING_SIGINT = """
import importlib.abc, os, signal, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
"""


def start(*command: object, cwd: Path, stdin: int | None = None, **environment: str) -> subprocess.Popen[str]:
    """Start a command that Ctrl-C and SIGHUP reach: a job in the background, or under nohup, inherits that they are
    ignored."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        return subprocess.Popen(
            list(map(str, command)),
            cwd=cwd,
            env={**ENVIRONMENT, **environment},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupted(process: subprocess.Popen[str], name: str) -> None:
    """Press Ctrl-C, and hold the command to what it should say and how it should end."""
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert said.splitlines()[-1:] == [f"{name}: interrupted"], said
    assert said.count(f"{name}: ") == 1


def interrupt_export(folder: Path, step: str, delay: float) -> None:
    """Interrupt an export so long after a step began."""
    process = start(BIN / "dpr-export", "checkpoint", "-o", "out/here", cwd=folder)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(step):
            break
    time.sleep(delay)
    interrupted(process, "dpr-export")
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "checkpoint", "question")
    return tmp_path


@pytest.mark.parametrize(("step", "delay"), [("load", 0.5), ("check onnx/model.onnx on openvino", 0.02)])
def test_an_export_that_is_interrupted_ends_in_one_line(folder: Path, step: str, delay: float) -> None:
    interrupt_export(folder, step, delay)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step", STEPS)
def test_an_export_may_be_interrupted_in_every_step(folder: Path, step: str, seed: int) -> None:
    interrupt_export(
        folder, step, random.Random(f"{step} {seed}").uniform(0, 2.0 if step in ("load", "trace") else 0.1)
    )


def test_encoding_that_is_interrupted_leaves_no_file(tiny: dict[str, Path], tmp_path: Path) -> None:
    nothing_yet, writer = os.pipe()
    try:
        process = start(
            BIN / "dpr-runtime", "encode", tiny["question"], "-", "out.npy", cwd=tmp_path, stdin=nothing_yet
        )
        for _ in range(1200):  # it has begun, and waits for standard input
            if list(tmp_path.iterdir()):
                break
            time.sleep(0.05)
        time.sleep(0.1)
        interrupted(process, "dpr-runtime")
    finally:
        os.close(nothing_yet)
        os.close(writer)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["dpr-export", "dpr-runtime"])
@pytest.mark.parametrize("module", ["numpy", "typer", "tokenizers", "rich.console"])
def test_a_command_that_is_interrupted_while_it_is_imported_ends_in_one_line(
    tmp_path: Path, name: str, module: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(CALLING_SIGINT, encoding="utf-8")
    process = start(BIN / name, "--help", cwd=tmp_path, PYTHONPATH=str(tmp_path), INTERRUPT_AT=module)
    said, _ = process.communicate(timeout=120)
    assert (process.returncode, said) == (130, f"{name}: interrupted\n")


def test_an_interrupt_that_a_library_made_an_error_of_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that comes while a library in C is imported becomes an ImportError."""
    app = typer.Typer()

    @app.command()
    def load() -> None:
        try:
            raise ImportError("initialization failed") from KeyboardInterrupt()
        except ImportError as error:
            raise ImportError("the engine is not installed") from error

    monkeypatch.setattr(sys, "argv", ["dpr-runtime"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as exited:
        run_command(app, "dpr-runtime")
    assert exited.value.code == 130
    assert capsys.readouterr().err == "dpr-runtime: interrupted\n"


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_request_to_end_that_was_lost_within_a_step_is_heard_after_it(tmp_path: Path, name: str, code: int) -> None:
    """What a signal raises within a finalizer is dropped."""
    script = f"""
import signal, sys, typer
from rich.console import Console
from dpr_export.exporter.progress import steps
from dpr_export.runtime.cli.run_command import run_command

class Finalized:
    def __del__(self):
        signal.raise_signal(signal.{name})

app = typer.Typer()

@app.command()
def work() -> None:
    sys.unraisablehook = lambda lost: print("lost")
    with steps(Console(stderr=True))("one"):
        Finalized()
        print("went on")
    print("went on too far")

run_command(app, "dpr-export")
"""
    process = start(sys.executable, "-c", script, cwd=tmp_path)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert "lost" in said
    assert "went on\n" in said
    assert "too far" not in said
    assert "Traceback" not in said


def test_adding_a_variant_that_is_interrupted_leaves_the_folder_as_it_was(
    tiny: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny["question"], tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    process = start(BIN / "dpr-export", "out", "--precision", "int8", "--backend", "onnxruntime", cwd=tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("make"):
            break
    time.sleep(0.05)
    interrupted(process, "dpr-export")
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
