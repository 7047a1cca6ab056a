"""A checkpoint's tokenizer: read as it is, or converted from SentencePiece's file or vocab.json by transformers."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers

from dpr_export.exporter.checkpoint.tokenizer import read_tokenizer
from dpr_export.exporter.errors import ExportError
from dpr_export.models.kinds import CONTEXT, QUESTION, READER
from dpr_export.models.tokenization.encoder_tokenizers import DPRContextEncoderTokenizer
from tests.models.roberta import CLASSES, TEXTS, train


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("vocabularies")
    return {name: train(name, root / name) for name in CLASSES}


def copy(folder: Path, target: Path, **files: dict[str, Any]) -> Path:
    shutil.copytree(folder, target, dirs_exist_ok=True)
    for name, content in files.items():
        (target / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return target


@pytest.mark.parametrize("named", ["tokenizer_class", "config", "model_type", "nowhere"])
@pytest.mark.parametrize("name", list(CLASSES))
def test_a_vocabulary_is_converted_as_by_transformers(
    name: str, named: str, raw: dict[str, Path], tmp_path: Path
) -> None:
    files: dict[str, Any] = {
        "tokenizer_class": {"tokenizer_config": {"tokenizer_class": CLASSES[name], "model_max_length": 512}},
        "config": {"config": {"tokenizer_class": f"{CLASSES[name]}Fast", "model_type": "dpr"}},
        "model_type": {"config": {"model_type": name}},
    }.get(named, {})
    folder = copy(raw[name], tmp_path / "checkpoint", **files)
    before = sorted(path.name for path in folder.iterdir())
    if named == "nowhere" and name != "roberta":
        with pytest.raises(ExportError, match=r"tokenizer_class is None, but .* is read with XLMR"):
            read_tokenizer(QUESTION, folder)
        return
    mine = read_tokenizer(QUESTION, folder)
    reference = getattr(transformers, CLASSES[name]).from_pretrained(raw[name])
    assert mine(TEXTS, TEXTS)["input_ids"] == reference(TEXTS, TEXTS)["input_ids"]
    assert mine.name_or_path == str(folder)
    assert mine.model_max_length == (512 if named == "tokenizer_class" else int(1e30))
    assert sorted(path.name for path in folder.iterdir()) == before
    mine.save_pretrained(tmp_path / "exported")
    assert dict(DPRContextEncoderTokenizer.from_pretrained(tmp_path / "exported")(TEXTS)) == dict(mine(TEXTS))


def test_the_other_name_of_sentencepieces_file_is_read(raw: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(raw["camembert"], tmp_path, tokenizer_config={"tokenizer_class": "CamembertTokenizer"})
    expected = read_tokenizer(CONTEXT, folder)(TEXTS)
    (folder / "sentencepiece.bpe.model").rename(folder / "spiece.model")
    assert dict(read_tokenizer(CONTEXT, folder)(TEXTS)) == dict(expected)


@pytest.mark.parametrize("library", ["sentencepiece", "google.protobuf"])
def test_a_missing_library_ends_in_what_to_install(
    library: str, raw: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy(raw["xlm-roberta"], tmp_path, tokenizer_config={"tokenizer_class": "XLMRobertaTokenizer"})
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ExportError, match=r'with sentencepiece and protobuf: pip install "dpr-export\[export\]"'):
        read_tokenizer(QUESTION, folder)


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        (
            "camembert",
            {"tokenizer_config": {"tokenizer_class": "T5Tokenizer"}},
            "tokenizer_class is 'T5Tokenizer', but",
        ),
        ("camembert", {"config": {"tokenizer_class": "RobertaTokenizer"}}, "sentencepiece.bpe.model is read with XLMR"),
        ("roberta", {"config": {"model_type": "camembert"}}, "vocab.json is read with RobertaTokenizer"),
        ("roberta", {"tokenizer_config": {"tokenizer_class": "BertJapaneseTokenizer"}}, "MeCab"),
    ],
)
def test_another_class_is_refused(name: str, files: Any, message: str, raw: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(raw[name], tmp_path, **files)
    with pytest.raises(ExportError, match=message):
        read_tokenizer(QUESTION, folder)


@pytest.mark.parametrize(("name", "file"), [("roberta", "vocab.json"), ("camembert", "sentencepiece.bpe.model")])
def test_a_damaged_vocabulary_is_refused_in_one_line(
    name: str, file: str, raw: dict[str, Path], tmp_path: Path
) -> None:
    folder = copy(raw[name], tmp_path, tokenizer_config={"tokenizer_class": CLASSES[name]})
    (folder / file).write_bytes(b"\x00damaged")
    with pytest.raises(ExportError, match="cannot be read: transformers cannot convert it: ") as error:
        read_tokenizer(QUESTION, folder)
    assert "\n" not in str(error.value)


def test_the_readers_tokenizer_is_berts(raw: dict[str, Path]) -> None:
    with pytest.raises(ExportError, match="the reader's rows are BERT's, but this tokenizer makes RoBERTa's"):
        read_tokenizer(READER, raw["roberta"])


def test_a_folder_without_a_tokenizer_names_the_files_looked_for(tmp_path: Path) -> None:
    for folder, message in ((tmp_path, "looked for tokenizer.json and vocab.txt"), (tmp_path / "none", "no folder")):
        with pytest.raises(ExportError, match=message):
            read_tokenizer(QUESTION, folder)
