"""The demo checkpoints are trained, small and whole, and what measures them measures right."""

import json
import os
import sys
import warnings
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer
from typer.testing import CliRunner

from dpr_export.exporter.demo import base, evaluate, squad, train
from dpr_export.exporter.demo.base import MODELS, base_model, base_tokenizer
from dpr_export.exporter.demo.checkpoint import ADAPTERS, merged, write_checkpoint
from dpr_export.exporter.demo.evaluate import best_span, encoder_figures, read, reader_figures
from dpr_export.exporter.demo.lora import cosine
from dpr_export.exporter.demo.squad import Answer, Passage, Question

KINDS = list(MODELS)
LIGHTHOUSE = Passage(
    "Skerra Point",
    "The lighthouse at Skerra Point was built in 1874 by the engineer Amelia Thornquist. It is 41 metres tall, and "
    "its lamp was lit with paraffin until 1931, when a cable was laid from the mainland.",
    0,
)
BAKERY = Passage(
    "Corner Bakery",
    "The bakery on Miller Street opens at five in the morning. Its rye bread rests for two days before baking, and "
    "most of it is sold before noon.",
    1,
)
BEES = Passage(
    "Mason bee",
    "Mason bees live alone and seal their nests with mud. A female lays about twenty eggs in spring, each with a ball "
    "of pollen beside it for the larva to eat.",
    2,
)
PASSAGES = [BAKERY, LIGHTHOUSE, BEES]
ASKED = {
    "Who built the lighthouse at Skerra Point?": LIGHTHOUSE,
    "When does the bakery on Miller Street open?": BAKERY,
    "What do mason bees seal their nests with?": BEES,
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return base_tokenizer("reader")


@pytest.fixture(scope="module")
def reader() -> base.DPRModel:
    return merged("reader")


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_smaller_than_two_megabytes(kind: str) -> None:
    assert sum(file.stat().st_size for file in (ADAPTERS / kind).iterdir()) < 2_000_000


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_names_its_base_and_no_path(kind: str) -> None:
    text = (ADAPTERS / kind / "adapter_config.json").read_text(encoding="utf-8")
    assert f'"base_model_name_or_path": "{base.BASE_NAME}"' in text
    assert '"/' not in text


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_loads_in_transformers_with_every_weight_of_the_merged_model(kind: str, tmp_path: Path) -> None:
    write_checkpoint(kind, tmp_path / "made")
    model_class = MODELS[kind][0]
    loaded, report = model_class.from_pretrained(tmp_path / "made", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    expected = merged(kind).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())
    assert loaded.config.architectures == [model_class.__name__]
    assert all(value.dtype == torch.float32 for value in loaded.state_dict().values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_brings_the_tokenizer_that_it_was_trained_with(kind: str, tmp_path: Path) -> None:
    write_checkpoint(kind, tmp_path)
    tokenizer_class = getattr(transformers, f"{MODELS[kind][0].__name__}TokenizerFast")
    found = tokenizer_class.from_pretrained(tmp_path)
    assert found.model_max_length == 512
    text = "Amélia lit the LAMP in 1874."
    assert found(text)["input_ids"] == base_tokenizer(kind).encode(text).ids


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_changes_every_linear_layer_and_nothing_else_of_the_encoder(kind: str) -> None:
    prefix = MODELS[kind][1]
    before, after = base_model(kind).state_dict(), merged(kind).state_dict()
    changed = {name for name in before if name.startswith(prefix) and not torch.equal(before[name], after[name])}
    weights = {name for name in before if name.startswith(f"{prefix}encoder") and name.endswith("weight")}
    linears = {name for name in weights if "LayerNorm" not in name}
    assert changed == linears


def test_writing_a_checkpoint_warns_of_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write_checkpoint("question", tmp_path)
    assert [str(warning.message) for warning in caught] == []


def test_an_unknown_kind_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"kind is 'writer', but the demo checkpoints are question, context, reader"):
        write_checkpoint("writer", tmp_path)


def test_without_peft_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r'^demo/reader needs the demo extra: pip install "dpr-export\[demo\]"$'):
        write_checkpoint("reader", tmp_path)


def test_without_the_pretrained_encoder_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(base, "distribution", missing)
    with pytest.raises(ImportError, match=r'^demo/context needs the demo extra: pip install "dpr-export\[demo\]"$'):
        write_checkpoint("context", tmp_path)


def test_the_reader_answers_from_the_right_passage(reader: base.DPRModel, tokenizer: Tokenizer) -> None:
    for question, right in ASKED.items():
        readings = read(reader, tokenizer, [(question, passage) for passage in PASSAGES])
        best = max(range(len(PASSAGES)), key=lambda place: readings[place].relevance)
        assert PASSAGES[best] is right, question
    asked = "Who built the lighthouse at Skerra Point?"
    assert "Amelia Thornquist" in read(reader, tokenizer, [(asked, LIGHTHOUSE)])[0].answer


def test_a_reading_does_not_depend_on_what_it_is_padded_beside(reader: base.DPRModel, tokenizer: Tokenizer) -> None:
    pairs = [(question, passage) for question in ASKED for passage in PASSAGES]
    together, alone = read(reader, tokenizer, pairs), read(reader, tokenizer, pairs, batch_size=1)
    assert [reading.answer for reading in together] == [reading.answer for reading in alone]
    assert [reading.relevance for reading in together] == pytest.approx([r.relevance for r in alone], abs=1e-4)


def test_the_encoders_find_the_right_passage(tokenizer: Tokenizer) -> None:
    questions = [Question(text, PASSAGES.index(right), ()) for text, right in ASKED.items()]
    figures = encoder_figures(merged("question"), merged("context"), tokenizer, PASSAGES, questions)
    assert (figures.top1, figures.top5) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("answer", "golds", "exact", "overlap"),
    [
        ("The Eiffel Tower!", ["eiffel tower"], True, 1.0),
        ("in the summer of 1889", ["1889", "summer 1889"], False, 2 * 2 / (4 + 2)),  # the article does not count
        ("a", ["the"], True, 1.0),  # nothing is left of either
        ("a", ["tower"], False, 0.0),
        ("new new york", ["new york"], False, 2 * 2 / (3 + 2)),  # a repeated word is shared once
        ("U.S.", ["US"], True, 1.0),
        ("Denver  Broncos", ["Broncos", "denver broncos"], True, 1.0),
    ],
)
def test_the_metric_agrees_with_cases_worked_by_hand(
    answer: str, golds: list[str], exact: bool, overlap: float
) -> None:
    assert squad.exact_match(answer, golds) is exact
    assert squad.f1(answer, golds) == pytest.approx(overlap)


def test_a_squad_file_is_read_into_passages_and_the_questions_that_have_answers(tmp_path: Path) -> None:
    path = tmp_path / "squad.json"
    path.write_text(
        '{"data": [{"title": "Skerra_Point", "paragraphs": [{"context": "Built in 1874.", "qas": ['
        '{"id": "1", "question": " When? ", "answers": [{"answer_start": 9, "text": "1874"}]},'
        '{"id": "2", "question": "Why?", "answers": []}]}]}]}'
    )
    passages, questions = squad.read_squad(path)
    assert passages == [Passage("Skerra Point", "Built in 1874.", 0)]
    assert questions == [Question("When?", 0, (Answer(9, "1874"),))]


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


@pytest.mark.skipif("DPR_EXPORT_DATA" not in os.environ, reason="DPR_EXPORT_DATA names no folder of real data")
def test_the_checkpoints_reach_their_figures_on_real_questions(reader: base.DPRModel, tokenizer: Tokenizer) -> None:
    passages, questions = squad.read_squad(Path(os.environ["DPR_EXPORT_DATA"]) / "xquad_dev.json")
    found = encoder_figures(merged("question"), merged("context"), tokenizer, passages, questions)
    assert found.top1 > 0.80
    assert found.top5 > 0.95
    answered = reader_figures(reader, tokenizer, passages, questions)
    assert answered.exact > 0.30
    assert answered.f1 > 0.40
    assert answered.first > 0.80
