"""Each layout on the hub: only files that its row names are asked for, and the model is that of the folder."""

import shutil
from pathlib import Path

import pytest
import torch

from dpr_export.exporter import ExportOptions
from dpr_export.exporter.checkpoint.layouts import LAYOUTS as ROWS
from dpr_export.exporter.checkpoint.load import LoadedCheckpoint, load
from dpr_export.exporter.checkpoint.source import resolve_checkpoint
from dpr_export.exporter.checkpoint.tokenizer import read_tokenizer
from dpr_export.models.config import CONFIG_FILE
from tests.hub.server import Hub
from tests.layouts.original import Original
from tests.layouts.rebuild import LAYOUTS

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

NAME = "somebody/something"
MARKS = [row.mark for row in ROWS]
WORD_PIECES = ["tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json", "added_tokens.json"]
SLOW = ["vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model"]
WEIGHTS = "model.safetensors"
POOLER = ["pooler.pt", "pooler_config.json"]
INDEX = f"{WEIGHTS}.index.json"
SENTENCE_SETTINGS = [
    f"sentence_{name}_config.json" for name in ("bert", "roberta", "distilbert", "camembert", "xlm-roberta")
]


def below(folder: str, files: list[str]) -> list[str]:
    return [f"{folder}/{file}" for file in files]


# The files that may be asked for in each layout, found or not.
ASKED = {
    "dpr, as it should be": [*MARKS[:4], WEIGHTS, *WORD_PIECES],
    "rag, RagTokenForGeneration": [*MARKS[:4], WEIGHTS, *below("question_encoder_tokenizer", WORD_PIECES)],
    "bert, cls": [*MARKS[:5], WEIGHTS, *WORD_PIECES, *POOLER],
    "xlm-roberta, sentencepiece.bpe.model": [*MARKS[:5], WEIGHTS, *WORD_PIECES, *SLOW, *POOLER],
    "sentence-transformers, 2": [
        *(MARKS[0], *MARKS[1:5], "config_sentence_transformers.json", "1_Pooling/config.json", *POOLER),
        *(*SENTENCE_SETTINGS, "2_Dense/config.json", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin"),
        "3_Normalize/config.json",
        *(WEIGHTS, INDEX, "pytorch_model.bin", *WORD_PIECES),
    ],
    "haystack, from BERT": [
        *MARKS,
        *below("query_encoder", [*MARKS[:5], "language_model.bin", *WORD_PIECES, *POOLER]),
        *POOLER,
    ],
    "tevatron, pooler": [
        *MARKS,
        *below("query_model", [*MARKS[:5], WEIGHTS, *WORD_PIECES, *SLOW, *POOLER]),
        *(*WORD_PIECES, *POOLER),
    ],
}


def on_the_hub(hub: Hub, original: Original) -> ExportOptions:
    """Put a checkpoint on the hub, with files that nobody needs."""
    for name in ("README.md", "flax_model.msgpack", "onnx/model.onnx", "rust_model.ot", "code.py"):
        (original.source / name).parent.mkdir(exist_ok=True)
        (original.source / name).write_text("nobody needs this")
    hub.add(NAME, original.source)
    return ExportOptions(**original.options)


def same(found: LoadedCheckpoint, expected: LoadedCheckpoint) -> bool:
    state = expected.model.state_dict()
    return all(torch.equal(weight, state[name]) for name, weight in found.model.state_dict().items())


@pytest.mark.parametrize("layout", ASKED)
def test_only_the_files_of_its_row_are_asked_for(layout: str, hub: Hub, tmp_path: Path) -> None:
    original = LAYOUTS[layout](tmp_path / "checkpoint")
    options = on_the_hub(hub, original)
    with resolve_checkpoint(NAME, options) as there, resolve_checkpoint(str(original.source), options) as here:
        assert same(load(there), load(here))
        kind = load(there).kind
        assert there.tokenizer is not None
        assert here.tokenizer is not None
        assert read_tokenizer(kind, there.tokenizer).get_vocab() == read_tokenizer(kind, here.tokenizer).get_vocab()
        assert there.revision in hub.repos[NAME].commits
    asked = {line.partition(" ")[2] for line in hub.requests}
    assert asked - set(ASKED[layout]) == set()


def test_the_base_of_an_adapter_is_taken_from_the_hub(hub: Hub, tmp_path: Path) -> None:
    original = LAYOUTS["peft, BertModel"](tmp_path / "checkpoint")
    base = original.source.parent / "base"
    hub.add("somebody/base", base)
    settings = original.source / "adapter_config.json"
    settings.write_text(settings.read_text().replace(str(base), "somebody/base"))
    options = on_the_hub(hub, original)
    with resolve_checkpoint(NAME, options) as there:
        found = load(there)
    settings.write_text(settings.read_text().replace("somebody/base", str(base)))
    with resolve_checkpoint(str(original.source), options) as here:
        assert same(found, load(here))


def test_every_part_of_split_weights_is_downloaded_and_one_outside_is_refused(hub: Hub, tmp_path: Path) -> None:
    original = LAYOUTS["dpr, shards"](tmp_path / "checkpoint")
    options = on_the_hub(hub, original)
    with resolve_checkpoint(NAME, options) as there, resolve_checkpoint(str(original.source), options) as here:
        assert len(there.weights) > 1
        assert same(load(there), load(here))


@pytest.mark.parametrize("path", ["../outside.safetensors", "/etc/outside", "a/b.safetensors", "", 5])
def test_a_part_outside_of_the_folder_is_refused(path: object, tmp_path: Path) -> None:
    import json

    original = LAYOUTS["dpr, shards"](tmp_path / "checkpoint")
    index = original.source / INDEX
    content = json.loads(index.read_text())
    content["weight_map"] |= {"x": path}
    index.write_text(json.dumps(content))
    from dpr_export.exporter import ExportError

    with pytest.raises(ExportError, match="must name files beside it"), resolve_checkpoint(str(original.source)):
        pass


def test_a_tokenizer_is_taken_from_the_hub(hub: Hub, tmp_path: Path) -> None:
    original = LAYOUTS["dpr, as it should be"](tmp_path / "checkpoint")
    (tmp_path / "bare").mkdir()
    for name in (CONFIG_FILE, WEIGHTS):
        shutil.copy(original.source / name, tmp_path / "bare")
    hub.add("somebody/tokenizer", original.source)
    with resolve_checkpoint(str(tmp_path / "bare"), ExportOptions(tokenizer="somebody/tokenizer")) as found:
        assert found.tokenizer is not None
        assert (found.tokenizer / "tokenizer.json").is_file()
