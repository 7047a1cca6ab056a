"""The demo checkpoints are trained, small and whole, and what measures them measures right."""

import json
import os
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file
from tokenizers import Tokenizer
from typer.testing import CliRunner

from dpr_export.exporter.demo.checkpoint import ADAPTERS, PREFIXES, write_checkpoint
from dpr_export.runtime.corpus.passages import Passage
from dpr_export.runtime.corpus.squad import Squad, SquadQuestion, read_squad
from scripts.demo_training import evaluate, train
from scripts.demo_training.base import (
    BASE_NAME,
    MODELS,
    DPRModel,
    base_model,
    base_tokenizer,
    ignore_peft_warning,
    merged_model,
)
from scripts.demo_training.evaluate import best_span, encoder_figures, read, reader_figures
from scripts.demo_training.lora import cosine

KINDS = list(MODELS)
LIGHTHOUSE = Passage(
    "1",
    "Skerra Point",
    "The lighthouse at Skerra Point was built in 1874 by the engineer Amelia Thornquist. It is 41 metres tall, and "
    "its lamp was lit with paraffin until 1931, when a cable was laid from the mainland.",
)
BAKERY = Passage(
    "0",
    "Corner Bakery",
    "The bakery on Miller Street opens at five in the morning. Its rye bread rests for two days before baking, and "
    "most of it is sold before noon.",
)
BEES = Passage(
    "2",
    "Mason bee",
    "Mason bees live alone and seal their nests with mud. A female lays about twenty eggs in spring, each with a ball "
    "of pollen beside it for the larva to eat.",
)
PASSAGES = (BAKERY, LIGHTHOUSE, BEES)
ASKED = {
    "Who built the lighthouse at Skerra Point?": LIGHTHOUSE,
    "When does the bakery on Miller Street open?": BAKERY,
    "What do mason bees seal their nests with?": BEES,
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return base_tokenizer("reader")


@pytest.fixture(scope="module")
def models() -> dict[str, DPRModel]:
    return {kind: merged_model(kind) for kind in KINDS}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("demo")
    for kind in KINDS:
        write_checkpoint(kind, folder / kind)
    return {kind: folder / kind for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_smaller_than_two_megabytes(kind: str) -> None:
    assert sum(file.stat().st_size for file in (ADAPTERS / kind).iterdir()) < 2_000_000


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_names_its_base_and_no_path(kind: str) -> None:
    text = (ADAPTERS / kind / "adapter_config.json").read_text(encoding="utf-8")
    assert f'"base_model_name_or_path": "{BASE_NAME}"' in text
    assert '"/' not in text


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_loads_in_transformers_with_every_weight_of_the_merged_model(
    kind: str, written: dict[str, Path], models: dict[str, DPRModel]
) -> None:
    model_class = MODELS[kind]
    made: Any = model_class.from_pretrained(written[kind], output_loading_info=True)
    loaded, report = made
    assert not report["missing_keys"] | report["unexpected_keys"]
    expected = models[kind].state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())
    assert loaded.config.architectures == [model_class.__name__]
    assert all(value.dtype == torch.float32 for value in loaded.state_dict().values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_brings_the_tokenizer_that_it_was_trained_with(kind: str, written: dict[str, Path]) -> None:
    tokenizer_class = getattr(transformers, f"{MODELS[kind].__name__}TokenizerFast")
    found = tokenizer_class.from_pretrained(written[kind])
    assert found.model_max_length == 512
    text = "Amélia lit the LAMP in 1874."
    assert found(text)["input_ids"] == base_tokenizer(kind).encode(text).ids


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_changes_every_linear_layer_and_nothing_else_of_the_encoder(
    kind: str, models: dict[str, DPRModel]
) -> None:
    prefix = PREFIXES[kind]
    before, after = base_model(kind).state_dict(), models[kind].state_dict()
    changed = {name for name in before if name.startswith(prefix) and not torch.equal(before[name], after[name])}
    weights = {name for name in before if name.startswith(f"{prefix}encoder") and name.endswith("weight")}
    assert changed == {name for name in weights if "LayerNorm" not in name}


def test_an_unknown_kind_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"kind is 'writer', but the demo checkpoints are question, context, reader"):
        write_checkpoint("writer", tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_merged_as_peft_merges_it(kind: str, models: dict[str, DPRModel]) -> None:
    with ignore_peft_warning():
        adapted = PeftModel.from_pretrained(base_model(kind), str(ADAPTERS / kind))
    expected = adapted.merge_and_unload().float().state_dict()
    merged = models[kind].state_dict()
    assert merged.keys() == expected.keys()
    assert max(float((value - expected[name]).abs().max()) for name, value in merged.items()) < 1e-7


def test_without_the_pretrained_encoder_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("dpr_export.exporter.demo.checkpoint.distribution", missing)
    with pytest.raises(ImportError, match=r'^demo/context needs the demo extra: pip install "dpr-export\[demo\]"$'):
        write_checkpoint("context", tmp_path)


def test_the_reader_answers_from_the_right_passage(models: dict[str, DPRModel], tokenizer: Tokenizer) -> None:
    for question, right in ASKED.items():
        readings = read(models["reader"], tokenizer, [(question, passage) for passage in PASSAGES])
        best = max(range(len(PASSAGES)), key=lambda place: readings[place].relevance)
        assert PASSAGES[best] is right, question
    asked = "Who built the lighthouse at Skerra Point?"
    assert "Amelia Thornquist" in read(models["reader"], tokenizer, [(asked, LIGHTHOUSE)])[0].answer


def test_a_reading_does_not_depend_on_its_padding(models: dict[str, DPRModel], tokenizer: Tokenizer) -> None:
    pairs = [(question, passage) for question in ASKED for passage in PASSAGES]
    together = read(models["reader"], tokenizer, pairs)
    alone = read(models["reader"], tokenizer, pairs, batch_size=1)
    assert [reading.answer for reading in together] == [reading.answer for reading in alone]
    assert [reading.relevance for reading in together] == pytest.approx([r.relevance for r in alone], abs=1e-4)


def test_the_encoders_find_the_right_passage(models: dict[str, DPRModel], tokenizer: Tokenizer) -> None:
    questions = tuple(SquadQuestion(text, PASSAGES.index(right), ()) for text, right in ASKED.items())
    squad = Squad(PASSAGES, (1, 0, 2), questions)
    metrics = encoder_figures(models["question"], models["context"], tokenizer, squad)
    assert (metrics.top1, metrics.top5) == (1.0, 1.0)


def test_the_best_span_is_in_order_and_no_longer_than_asked() -> None:
    starts, ends = torch.tensor([5.0, 0.0, 4.0, 0.0]), torch.tensor([0.0, 9.0, 0.0, 8.0])
    assert best_span(starts, ends) == (0, 1)
    assert best_span(starts, ends, longest=1) == (1, 1)
    assert best_span(starts, torch.tensor([0.0, 1.0, 0.0, 8.0]), longest=2) == (2, 3)


def test_the_learning_rate_rises_once_and_falls_to_nothing() -> None:
    shares = [cosine(step / 200) for step in range(1, 201)]
    top = shares.index(max(shares))
    assert shares[: top + 1] == sorted(shares[: top + 1])
    assert shares[top:] == sorted(shares[top:], reverse=True)
    assert shares[-1] == pytest.approx(0)


def squad_file(folder: Path) -> Path:
    """The three passages and their questions in SQuAD's format."""
    articles = []
    for question, passage in ASKED.items():
        entry = {"question": question, "answers": [{"answer_start": 4, "text": passage.text[4:30]}]}
        articles.append({"title": passage.title, "paragraphs": [{"context": passage.text, "qas": [entry]}]})
    (folder / "squad.json").write_text(json.dumps({"data": articles}), encoding="utf-8")
    return folder / "squad.json"


@pytest.mark.ci
@pytest.mark.parametrize(
    ("command", "kinds", "steps"), [("reader", ["reader"], 2), ("encoders", ["question", "context"], 4)]
)
def test_training_is_seeded_and_writes_adapters_that_can_be_measured(
    command: str, kinds: list[str], steps: int, tmp_path: Path
) -> None:
    path = squad_file(tmp_path)
    for folder in ("once", "again"):
        arguments = [command, str(path), "-o", str(tmp_path / folder), "--epochs", "2"]
        trained = CliRunner().invoke(train.app, arguments, catch_exceptions=False)
        assert f"{steps} steps in" in trained.output
    for kind in kinds:
        name = f"{kind}/adapter_model.safetensors"
        once, again = load_file(tmp_path / "once" / name), load_file(tmp_path / "again" / name)
        assert all(torch.equal(value, again[key]) for key, value in once.items())
        assert any(value.any() for key, value in once.items() if "lora_B" in key)
        assert (tmp_path / "once" / name).stat().st_size < 2_000_000
    arguments = [command, str(path), "--adapters", str(tmp_path / "once")]
    measured = CliRunner().invoke(evaluate.app, arguments, catch_exceptions=False)
    assert measured.output.startswith("3 questions, 3 passages\n")


@pytest.mark.ci
@pytest.mark.skipif("DPR_EXPORT_DATA" not in os.environ, reason="DPR_EXPORT_DATA names no folder of real data")
def test_the_checkpoints_reach_their_figures_on_real_questions(
    models: dict[str, DPRModel], tokenizer: Tokenizer
) -> None:
    squad = read_squad(Path(os.environ["DPR_EXPORT_DATA"]) / "xquad_dev.json").answerable()
    found = encoder_figures(models["question"], models["context"], tokenizer, squad)
    assert found.top1 > 0.88
    assert found.top5 > 0.99
    answered = reader_figures(models["reader"], tokenizer, squad)
    assert answered.exact > 0.435
    assert answered.f1 > 0.57
    assert answered.first > 0.90
