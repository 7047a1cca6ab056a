"""Files as editors and clones leave them: a byte-order mark is skipped, a git-lfs pointer is named."""

import json
import shutil
from pathlib import Path

import pytest

from dpr_export.exporter import export
from dpr_export.exporter.checkpoint.load import load
from dpr_export.exporter.checkpoint.source import resolve_checkpoint
from dpr_export.exporter.errors import ExportError
from dpr_export.exporter.options import ExportOptions
from dpr_export.models.artifact.folder import ExportedFolder, hash_file
from dpr_export.models.artifact.git_lfs import is_pointer
from dpr_export.models.config import DPRConfig
from dpr_export.quantization.texts import read_texts
from dpr_export.runtime import DPRQuestionEncoder, DPRQuestionEncoderTokenizer
from dpr_export.runtime.corpus import read_corpus, read_questions
from tests.checkpoints import checkpoint_in
from tests.conftest import MakeCheckpoint

MARK = b"\xef\xbb\xbf"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 438012345\n"
SAID = "is a git-lfs pointer in place of the file itself: run git lfs pull in its folder"
TEXT = "hamlet is a play"


@pytest.fixture
def folder(tiny: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny["question"], tmp_path / "folder"))


def change(folder: Path, name: str, content: bytes, is_recorded: bool = True) -> None:
    """Change a file, and let the manifest say so."""
    (folder / name).write_bytes(content)
    if is_recorded and name != "manifest.json":
        values = json.loads((folder / "manifest.json").read_bytes())
        record = hash_file(folder / name)
        values["files"][name] = {"bytes": record.bytes, "sha256": record.sha256}
        (folder / "manifest.json").write_text(json.dumps(values))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "manifest.json"])
def test_a_byte_order_mark_in_an_exported_folder_is_skipped(tiny: dict[str, Path], folder: Path, name: str) -> None:
    expected = DPRQuestionEncoder.from_pretrained(tiny["question"], backend="onnxruntime").encode([TEXT])
    change(folder, name, MARK + (folder / name).read_bytes())
    found = DPRQuestionEncoder.from_pretrained(folder, backend="onnxruntime", verify=True).encode([TEXT])
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("name", ["vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"])
def test_a_byte_order_mark_in_a_checkpoints_tokenizer_is_skipped(
    tiny: dict[str, Path], tmp_path: Path, name: str
) -> None:
    source = tiny["question"].with_name("question-checkpoint")
    expected = DPRQuestionEncoderTokenizer.from_pretrained(source)
    shutil.copy(source / "vocab.txt", tmp_path)
    content = (tmp_path / name).read_bytes() if name == "vocab.txt" else b"{}"
    (tmp_path / name).write_bytes(MARK + content)
    found = DPRQuestionEncoderTokenizer.from_pretrained(tmp_path)
    assert (found.get_vocab(), found(TEXT).input_ids) == (expected.get_vocab(), expected(TEXT).input_ids)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_configuration_that_powershell_wrote_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"projection_dim": 7, "é": "ß"}), encoding=encoding)
    config = DPRConfig.from_pretrained(tmp_path)
    assert (config.projection_dim, config.extra) == (7, {"é": "ß"})


@pytest.mark.parametrize("ending", ["json", "jsonl", "tsv", "txt"])
def test_a_byte_order_mark_in_questions_is_skipped(tmp_path: Path, ending: str) -> None:
    text = {"json": '[{"question": "who ?"}]', "jsonl": '{"question": "who ?"}', "tsv": "who ?\t[]", "txt": "who ?"}[
        ending
    ]
    (tmp_path / f"a.{ending}").write_bytes(MARK + text.encode())
    assert read_questions(tmp_path / f"a.{ending}").questions[0].text == "who ?"


@pytest.mark.parametrize("name", ["onnx/model.onnx", "config.json", "tokenizer.json", "manifest.json"])
def test_a_pointer_in_an_exported_folder_is_named(folder: Path, name: str) -> None:
    change(folder, name, POINTER, is_recorded=False)
    with pytest.raises(ValueError, match=f"{Path(name).name} {SAID}"):
        DPRQuestionEncoder.from_pretrained(folder, backend="openvino")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_pointer_that_was_pushed_as_the_file_is_named(folder: Path, name: str) -> None:
    change(folder, name, POINTER)
    assert ExportedFolder.open(folder).manifest.files[name].bytes == len(POINTER)
    with pytest.raises(ValueError, match=f"{name} {SAID}"):
        DPRQuestionEncoder.from_pretrained(folder, backend="onnxruntime")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "tf_model.h5", "config.json"])
def test_a_pointer_in_a_checkpoint_is_named(tiny: dict[str, Path], tmp_path: Path, name: str) -> None:
    shutil.copy(tiny["question"].with_name("question-checkpoint") / "config.json", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(POINTER)
    if name != "config.json":
        (tmp_path / "model.safetensors").unlink()
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(ExportError, match=SAID):
        load(checkpoint_in(tmp_path, "x"))


def test_a_pointer_in_place_of_facebookresearchs_file_or_a_vocabulary_is_named(tmp_path: Path) -> None:
    for name in ("biencoder.cp", "vocab.txt"):
        (tmp_path / name).write_bytes(POINTER)
    options = ExportOptions(kind="question", tokenizer=tmp_path)
    with (
        resolve_checkpoint(str(tmp_path / "biencoder.cp"), options) as checkpoint,
        pytest.raises(ExportError, match=f"biencoder.cp {SAID}"),
    ):
        load(checkpoint)
    with pytest.raises(ValueError, match=f"vocab.txt {SAID}"):
        DPRQuestionEncoderTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["a.tsv", "a.jsonl", "a.tsv.gz", "a.parquet"])
def test_a_pointer_in_place_of_passages_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(ValueError, match=f"{name} {SAID}"):
        list(read_corpus(tmp_path / name, on_error="skip"))


@pytest.mark.parametrize("name", ["a.tsv", "a.json"])
def test_a_pointer_in_place_of_questions_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(ValueError, match=f"{name} {SAID}"):
        read_questions(tmp_path / name)


def test_a_pointer_in_place_of_calibration_texts_is_named(tmp_path: Path) -> None:
    (tmp_path / "A.TSV").write_bytes(POINTER)
    with pytest.raises(ValueError, match=f"A.TSV {SAID}"):
        read_texts(tmp_path / "A.TSV")


def test_other_small_files_are_no_pointers(tmp_path: Path) -> None:
    for content in (b"", b"version", POINTER[8:], b"\n" + POINTER, POINTER + b" " * 1024):
        (tmp_path / "a").write_bytes(content)
        assert not is_pointer(tmp_path / "a")
    assert not is_pointer(tmp_path)
    assert not is_pointer(tmp_path / "lost")


@pytest.mark.parametrize(("kind", "positions"), [("question", 2), ("context", 2), ("reader", 2), ("reader", 5)])
def test_a_model_whose_rows_are_too_short_is_refused(
    checkpoint: MakeCheckpoint, tmp_path: Path, kind: str, positions: int
) -> None:
    folder = checkpoint(kind, max_position_embeddings=positions)
    with pytest.raises(
        ExportError, match=rf"have {positions} tokens \(max_position_embeddings is {positions}, .* room for 6"
    ):
        export(str(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_whose_rows_are_too_short_is_refused(checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    folder = checkpoint("question")
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 3}')
    with pytest.raises(ExportError, match=r"have 3 tokens \(max_position_embeddings is 512, model_max_length 3\)"):
        export(str(folder), tmp_path / "out")
