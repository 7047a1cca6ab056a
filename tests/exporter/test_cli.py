"""`dpr-export` as a person meets it: what it prints, its exit codes, and what stays on disk when it fails."""

import json
import re
import signal
import subprocess
import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest

from dpr_export.exporter.checkpoint.load import load
from dpr_export.exporter.cli import main
from dpr_export.exporter.tracing import trace as tracing
from tests.checkpoints import checkpoint_in
from tests.commands import run_command

COMMAND = Path(sys.executable).with_name("dpr-export")
run = partial(run_command, "dpr-export")


def error_of(*arguments: object, cwd: Path, code: int = 1) -> str:
    before = sorted(cwd.iterdir())
    done = run(*arguments, cwd=cwd, code=code)
    assert sorted(cwd.iterdir()) == before
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("dpr-export: ")]
    assert len(lines) == 1
    return lines[0]


def test_an_export_says_what_was_made_and_how_it_was_verified(checkpoint, tmp_path: Path) -> None:
    source = checkpoint("question")
    done = run(source.name, cwd=tmp_path)
    assert re.search(r"^onnx/model\.onnx +onnxruntime +\d\.\de-\d\d +\d+\.\d%", done.stdout, re.MULTILINE)
    assert "Compared with PyTorch at batch x sequence 1x1, 1x512, 3x7, 8x128\nwith onnxruntime" in done.stdout
    for name in ("config.json", "reference_outputs.npz", "tokenizer.json", "manifest.json"):
        assert (tmp_path / "checkpoint-onnx" / name).is_file()
    assert "tokenizer.json" in done.stdout
    assert "written to checkpoint-onnx" in done.stdout
    for step in (
        "load checkpoint",
        "trace onnx/model.onnx with torch.onnx",
        "compute reference outputs with PyTorch",
        "check onnx/model.onnx on onnxruntime",
        "check onnx/model.onnx on openvino",
        "make onnx/model_ort.onnx, and keep it if it is faster",
        "write checkpoint-onnx",
    ):
        assert f"{step} ...\ndone: {step} " in done.stderr


def test_json_is_the_manifest_and_nothing_else_on_standard_output(checkpoint, tmp_path: Path) -> None:
    done = run(checkpoint("reader"), "-o", "out", "--json", cwd=tmp_path)
    assert json.loads(done.stdout) == json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert "Compared with PyTorch" in done.stderr


def test_an_existing_folder_is_replaced_only_with_force(checkpoint, tmp_path: Path) -> None:
    run(checkpoint("question"), "-o", "out", cwd=tmp_path)
    (tmp_path / "out" / "onnx" / "model.onnx").unlink()
    assert "output out exists: give another, or replace it with force (--force)" in error_of(
        "checkpoint", "-o", "out", cwd=tmp_path
    )
    run("checkpoint", "-o", "out", "--force", cwd=tmp_path)
    assert (tmp_path / "out" / "onnx" / "model.onnx").is_file()


def test_a_graph_that_is_not_verified_ends_in_one_line_and_leaves_nothing(
    checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tracing.trace
    other = load(checkpoint_in(checkpoint("question", "other"), "other"))
    monkeypatch.setattr("dpr_export.exporter.tracing.trace.trace", lambda _, *how: trace(other, *how))
    monkeypatch.setattr(sys, "argv", ["dpr-export", str(checkpoint("question", seed=1)), "-o", str(tmp_path / "out")])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as exited:
        main()
    assert exited.value.code == 1
    captured = capsys.readouterr()
    assert (
        "dpr-export: parity check failed: the weight question_encoder.bert_model.embeddings.word_embeddings"
        in captured.err
    )
    assert captured.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "other"]


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout == f"dpr-export {version('dpr-export')}\n"


def test_a_name_that_is_nowhere_is_answered_before_torch_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from dpr_export.exporter import export\n"
        "try: export('./nowhere')\n"
        "except Exception as error: print(error, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "there is no folder ./nowhere, and it is not a name on the hub (org/name) False\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "Missing argument"),
        (("checkpoint", "--no-such"), 2, "No such option"),
        (("checkpoint", "--opset", "x"), 2, "--opset"),
        (("checkpoint", "--opset", "17"), 1, "opset is 17, and must be within 18..23"),
        (("checkpoint", "--atol", "-1"), 1, "atol is -1.0, and must be above 0"),
        (("checkpoint", "--atol", "nan"), 1, "atol is nan, and must be above 0"),
        (("demo/retriever",), 1, "there is no demo/retriever, only demo/question, demo/context, demo/reader"),
        (("./nowhere",), 1, "there is no folder ./nowhere, and it is not a name on the hub"),
        (("a/b/c",), 1, "there is no folder a/b/c, and it is not a name on the hub"),
        (("empty",), 1, "empty is not a checkpoint: it has none of modules.json"),
        (("file.bin",), 1, "file.bin is a file: give the folder of a checkpoint"),
        (("facebook/dpr-reader-single-nq-base",), 1, "is not in the cache and the hub cannot be reached"),
        (("checkpoint", "--revision", "v1"), 1, "revision is 'v1', but checkpoint is not on the hub"),
        (("facebook/x", "--revision", "main", "--token", "t"), 1, "facebook/x@main is not in the cache"),
    ],
)
def test_what_cannot_be_exported_ends_in_one_line(
    checkpoint, tmp_path: Path, arguments: tuple, code: int, message: str
) -> None:
    checkpoint("question")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.bin").write_bytes(b"x")
    assert message in error_of(*arguments, cwd=tmp_path, code=code)


def test_a_checkpoint_without_weights_or_tokenizer_is_refused(checkpoint, tmp_path: Path) -> None:
    (checkpoint("question", "no-weights") / "model.safetensors").unlink()
    (checkpoint("question", "no-vocabulary") / "vocab.txt").unlink()
    assert "no-weights has no weights: none of model.safetensors, pytorch_model.bin" in error_of(
        "no-weights", cwd=tmp_path
    )
    assert "no-vocabulary has no tokenizer: give the folder of one" in error_of("no-vocabulary", cwd=tmp_path)


def test_a_vocabulary_larger_than_the_models_is_refused(checkpoint, tmp_path: Path) -> None:
    vocabulary = checkpoint("question") / "vocab.txt"
    vocabulary.write_text(vocabulary.read_text() + "\n".join(f"word{number}" for number in range(100)))
    assert "but the model has embeddings for only 120 (vocab_size)" in error_of("checkpoint", cwd=tmp_path)


@pytest.mark.ci
@pytest.mark.parametrize(
    ("request_to_end", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_export_that_is_interrupted_leaves_nothing(
    checkpoint, tmp_path: Path, request_to_end: signal.Signals, code: int
) -> None:
    checkpoint("reader")
    # A job in the background, or under nohup, inherits that a signal is ignored.
    before = signal.signal(request_to_end, signal.default_int_handler)
    try:
        process = subprocess.Popen([COMMAND, "checkpoint", "-o", "out"], cwd=tmp_path, stderr=subprocess.PIPE)
    finally:
        signal.signal(request_to_end, before)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(b"trace"):
            break
    time.sleep(0.3)
    process.send_signal(request_to_end)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Traceback" not in rest
    assert (b"dpr-export: interrupted" in rest) is (request_to_end is signal.SIGINT)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_folder_that_cannot_be_written_is_one_line(checkpoint, tmp_path: Path) -> None:
    checkpoint("question")
    (tmp_path / "file").write_text("x")
    assert "file" in error_of("checkpoint", "-o", "file/out", cwd=tmp_path)
