"""`dpr-export` with lossy variants, as a person meets it: the table, the options, the errors."""

import hashlib
import json
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from dpr_export.exporter import cli
from dpr_export.exporter.cli import main, show_export
from dpr_export.models.artifact.folder import ExportedFolder, hash_file
from dpr_export.models.artifact.variants import BOUNDS, MODEL_FILE
from dpr_export.quantization.texts import CALIBRATION_SET_FILE
from dpr_export.runtime.engines.processors import SLOW_INT8

ORT_INT8 = "onnx/model_ort_int8.onnx"
ORT = ("--backend", "onnxruntime")
Run = Callable[..., "Done"]


class Done:
    """What a command left: its exit code, and what it printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def error(self) -> str:
        """The one line of the error."""
        (line,) = (line for line in self.err.splitlines() if line.startswith("dpr-export: "))
        assert "Traceback" not in self.err
        return line


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """A function that runs the command in this process, in an empty folder: `run("demo/question", "--json")`."""

    def called(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["dpr-export", *map(str, arguments)])
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            main()
        captured = capsys.readouterr()
        return Done(int(exited.value.code or 0), captured.out, captured.err)

    return called


def content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.usefixtures("quick")
def test_a_checkpoint_becomes_a_folder_with_int8_and_the_table_has_its_figures_and_bounds(
    run: Run, checkpoint: Callable[..., Path], tmp_path: Path, few: dict[str, Path]
) -> None:
    checkpoint("question")
    options = ("--precision", "int8", *ORT, "--allow-loss", "--calibration", few["calibration"])
    done = run("checkpoint", "-o", "out", *options)
    assert done.code == 0, done.err
    manifest = ExportedFolder.open(tmp_path / "out", verify=True).manifest
    assert [(v.backend, v.precision, v.file) for v in manifest.variants] == [
        ("onnxruntime", "fp32", MODEL_FILE),
        ("onnxruntime", "int8", ORT_INT8),
    ]
    loss = manifest.variants[1].accuracy_drop
    assert loss.calibration_set_sha256 == hashlib.sha256(few["calibration"].read_bytes()).hexdigest()
    lines = [re.split(r" {2,}", line.strip()) for line in done.out.splitlines()]
    (head,) = (line for line in lines if "mean cosine" in line)
    (found,) = (line for line in lines if line[0] == "onnxruntime int8")
    (least,) = (line for line in lines if line[0] == "at least")
    assert head == ["variant", "mean cosine", "least cosine", "top-1", "top-10", "cosine alone", "speed"]
    assert found[1:] == [*(f"{value:.3f}" for value in loss.metrics.values()), f"{manifest.variants[1].speedup:.2f}x"]
    assert least[1:] == ["0.99", "0.97", "-", "-", "0.97"]
    assert f"{ORT_INT8}: {loss.settings}" in done.out
    assert "Metrics compare with fp32 on the evaluation set: 1 means no loss" in done.out
    assert ORT_INT8 in [line[0] for line in lines if len(line) == 2]
    assert f"make {ORT_INT8} ...\ndone: make {ORT_INT8} " in done.err
    assert {line.split()[0] for line in done.err.splitlines()} <= {
        "load",
        "measure",
        "done:",
        "trace",
        "compute",
        "run",
        "check",
        "make",
        "write",
    }


@pytest.mark.usefixtures("quick")
def test_variants_are_added_to_an_exported_folder_and_json_is_the_manifest(
    run: Run, plain: Callable[..., Path], few: dict[str, Path]
) -> None:
    folder = plain("reader")
    done = run(folder, "--precision", "fp16", *ORT, "--calibration", few["calibration"], "--json")
    assert done.code == 0
    assert json.loads(done.out) == json.loads((folder / "manifest.json").read_text())
    assert "onnxruntime fp16" in done.err
    assert "same span" in done.err
    assert ", not on its device, where it runs if that device is named" in done.err
    (loss,) = (v.accuracy_drop for v in ExportedFolder.open(folder, verify=True).manifest.variants if v.accuracy_drop)
    assert loss.calibration_set_sha256 == hash_file(few["calibration"]).sha256


@pytest.mark.usefixtures("quick")
def test_texts_may_be_given_with_tabs(run: Run, plain: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "texts.tsv").write_text("who wrote hamlet ?\thamlet\ta play by william shakespeare\n" * 30)
    folder = plain()
    assert run(folder, "--precision", "int8", *ORT, "--allow-loss", "--calibration", "texts.tsv").code == 0
    (loss,) = (v.accuracy_drop for v in ExportedFolder.open(folder).manifest.variants if v.accuracy_drop)
    assert (
        loss.calibration_set_sha256
        == hash_file(tmp_path / "texts.tsv").sha256
        != hash_file(CALIBRATION_SET_FILE).sha256
    )


@pytest.mark.usefixtures("quick")
def test_what_loses_too_much_is_one_line_with_the_option_that_writes_it_all_the_same(
    run: Run, plain: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BOUNDS, "top10", 1.01)
    folder = plain()
    before = content(folder)
    done = run(folder, "--precision", "int8", *ORT)
    assert done.code == 1
    assert done.out == ""
    assert re.fullmatch(
        r"dpr-export: onnx/model_ort_int8\.onnx is not accurate enough: top10 is 0\.\d{3} and must be at least 1\.01; "
        r"allow_loss \(--allow-loss\) writes it all the same",
        done.error,
    )
    assert content(folder) == before
    done = run(folder, "--precision", "int8", *ORT, "--allow-loss")
    assert done.code == 0
    assert "never selected by auto: top-10 below the bound" in done.out
    assert ExportedFolder.open(folder, verify=True).manifest.variants[-1].accuracy_drop.below_bound == ("top10",)


@pytest.mark.usefixtures("quick")
def test_what_is_there_already_is_one_line_with_the_option_that_makes_it_again(
    run: Run, plain: Callable[..., Path]
) -> None:
    folder = plain()
    assert run(folder, "--precision", "fp16", *ORT).code == 0
    before = content(folder)
    done = run(folder, "--precision", "fp16", *ORT)
    assert (done.code, done.out) == (1, "")
    assert done.error == f"dpr-export: {folder} holds all of this already: make it again with force (--force)"
    assert content(folder) == before
    assert run(folder, "--precision", "fp16", *ORT, "--force").code == 0
    ExportedFolder.open(folder, verify=True)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--precision", "fp8"), 1, "precision is 'fp8', and must be one of: fp32, fp16, int8"),
        (("--precision", "bf16"), 1, "precision is 'bf16', and must be one of: fp32, fp16, int8"),
        (("--backend", "torch"), 1, "backend is 'torch', and must be one of: onnxruntime, openvino, tensorrt"),
        (
            ("--precision", "fp16", "--backend", "openvino"),
            1,
            "precision fp16 is made for tensorrt, onnxruntime, not for openvino",
        ),
        (("--precision",), 2, "Option '--precision' requires an argument"),
        (("--precision", "int8", "--calibration", "none.jsonl"), 1, "calibration none.jsonl cannot be read"),
        (("--precision", "int8", "--calibration", "folder.jsonl"), 1, "calibration folder.jsonl cannot be read"),
        (("--precision", "int8", "--calibration", "empty.jsonl"), 1, "empty.jsonl has no rows"),
        (
            ("--precision", "int8", "--calibration", "bad.jsonl"),
            1,
            "calibration bad.jsonl, line 2: not JSON: Expecting property name",
        ),
        (
            ("--precision", "int8", "--calibration", "bad.tsv"),
            1,
            "calibration bad.tsv, line 1: the number of columns is 2, not 3: question, title, text",
        ),
        (("--precision", "int8", "--calibration", "texts.csv"), 1, "texts.csv must end in .jsonl or .tsv"),
        (("--calibration", "none.jsonl"), 1, "calibration has no effect on fp32"),
    ],
)
@pytest.mark.parametrize("exported", [False, True])
def test_a_wrong_option_is_one_line_and_nothing_is_written(
    run: Run,
    plain: Callable[..., Path],
    checkpoint: Callable[..., Path],
    tmp_path: Path,
    exported: bool,
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    source = plain() if exported else checkpoint("question")
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "bad.jsonl").write_text('{"question": "who ?"}\n{\n')
    (tmp_path / "bad.tsv").write_text("who ?\thamlet\n")
    (tmp_path / "texts.csv").write_text("who ?,hamlet,a play\n")
    (tmp_path / "folder.jsonl").mkdir()
    before = content(tmp_path)
    done = run(source, *options)
    assert (done.code, done.out) == (code, "")
    assert message in done.error
    assert content(tmp_path) == before
    assert not (tmp_path / "checkpoint-onnx").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-o", "out"), "output does not apply to {}: variants are added to an exported folder"),
        (("--opset", "20"), "opset does not apply to {}: variants are added to an exported folder"),
        (("--revision", "main"), "revision does not apply to {}: variants are added to an exported folder"),
        (("--opset", "99"), "opset is 99, and must be within 18..23"),
        (("--atol", "2"), "atol is 2.0, and must be above 0 and below 1"),
    ],
)
def test_what_an_exported_folder_does_not_take_is_one_line(
    run: Run, plain: Callable[..., Path], tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    folder = plain()
    before = content(tmp_path)
    done = run(folder, "--precision", "int8", *options)
    assert (done.code, done.out) == (1, "")
    assert done.error == f"dpr-export: {message.format(folder)}"
    assert content(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain"]


def test_an_output_that_exists_is_answered_before_the_work(
    run: Run, checkpoint: Callable[..., Path], plain: Callable[..., Path]
) -> None:
    folder = plain()
    before = content(folder)
    done = run(checkpoint("question"), "-o", folder, "--precision", "int8")
    assert (done.code, done.out) == (1, "")
    assert "exists: give another, or replace it with force (--force)" in done.error
    assert "load" not in done.err
    assert content(folder) == before


@pytest.mark.usefixtures("quick")
def test_a_variant_that_fails_in_an_export_leaves_no_folder(
    run: Run, checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(BOUNDS, "top10", 1.01)
    done = run(checkpoint("question"), "--precision", "int8", *ORT)
    assert (done.code, done.out) == (1, "")
    assert "is not accurate enough: top10 is" in done.error
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize(("products", "shown"), [(False, True), (True, False), (None, False)])
def test_a_processor_that_is_slow_at_int8_is_told_of(
    tiny_variants: dict[str, Path], monkeypatch: pytest.MonkeyPatch, products: bool | None, shown: bool
) -> None:
    monkeypatch.setattr(cli, "int8_products", lambda: products)
    manifest = ExportedFolder.open(tiny_variants["reader"]).manifest
    printed = []
    for made in (manifest, replace(manifest, variants=manifest.variants[:2])):
        console = Console(file=StringIO(), width=200)
        show_export(made, tiny_variants["reader"], console)
        printed.append(console.file.getvalue())
    assert (f"note: {SLOW_INT8}" in printed[0]) is shown
    assert SLOW_INT8 not in printed[1]


def test_the_table_has_a_row_for_each_lossy_variant_and_says_what_is_not_picked(
    tiny_variants: dict[str, Path],
) -> None:
    manifest = ExportedFolder.open(tiny_variants["reader"]).manifest
    poor = tuple(
        replace(v, verified=False, accuracy_drop=replace(v.accuracy_drop, below_bound=("same_span",)))
        if v.precision == "int8"
        else v
        for v in manifest.variants
    )
    console = Console(file=StringIO(), width=200)
    show_export(replace(manifest, variants=poor), tiny_variants["reader"], console)
    lines = console.file.getvalue().splitlines()
    rows = [" ".join(line.split()[:2]) for line in lines if re.search(r"\d\.\d{3} +\d\.\d{3}", line)]
    assert rows == ["tensorrt fp16", "tensorrt int8", "onnxruntime fp16", "openvino int8", "onnxruntime int8"]
    checked = [line.split()[:2] for line in lines if re.search(r"\d\.\de-\d\d +\d+\.\d%", line)]
    plain = [["onnx/model.onnx", backend] for backend in ("onnxruntime", "openvino", "tensorrt")]
    assert checked == [*plain, ["onnx/model_ort.onnx", "onnxruntime"]]
    assert "Compared with PyTorch at batch x sequence 1x1, 1x512, 3x7, 8x128" in lines
    (engines,) = (line for line in lines if line.startswith("with onnxruntime"))
    assert "CPUExecutionProvider, not on tensorrt yet" in engines
    assert lines.count("  never selected by auto: same span below the bound") == 3
    assert sum(line.startswith("  never selected by auto: its metrics were measured with") for line in lines) == 2
