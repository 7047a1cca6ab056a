"""The model card says what the manifest says, number for number, in front matter that the hub reads."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from dpr_export.exporter.hub.card import model_card
from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import Manifest, Source
from dpr_export.models.artifact.variants import BOUNDS

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = Source("facebook/dpr-reader-single-nq-base", COMMIT, "ab" * 32)
NAME = "somebody/reader-onnx"


@pytest.fixture
def manifest(tiny_variants: dict[str, Path]) -> Manifest:
    """A reader's with every variant, as if it were exported from the hub."""
    return replace(ExportedFolder.read(tiny_variants["reader"]).manifest, source=HUB)


def rows(card: str) -> list[list[str]]:
    """The cells of the card's tables."""
    return [[cell.strip(" `*") for cell in line.split(" | ")] for line in card.splitlines() if line.startswith("| ")]


def test_the_front_matter_says_what_the_hub_asks(manifest: Manifest) -> None:
    fields = ModelCard(model_card(manifest, NAME, {"license": "cc-by-nc-4.0"})).data.to_dict()
    assert fields == {
        "license": "cc-by-nc-4.0",
        "library_name": "dpr-export",
        "pipeline_tag": "question-answering",
        "tags": ["dpr", "onnx"],
        "base_model": HUB.name,
    }


@pytest.mark.parametrize("kind", ["question", "context"])
def test_an_encoder_extracts_features(tiny: dict[str, Path], kind: str) -> None:
    card = model_card(ExportedFolder.read(tiny[kind]).manifest, "somebody/encoder")
    assert ModelCard(card).data.to_dict()["pipeline_tag"] == "feature-extraction"


def test_a_licence_that_nobody_states_is_said_to_be_unknown(manifest: Manifest) -> None:
    card = model_card(manifest, NAME)
    assert ModelCard(card).data.to_dict()["license"] == "unknown"
    assert "Unknown: the source has no model card that states one." in card


def test_a_licence_is_written_so_that_it_reads_back_whatever_it_holds(manifest: Manifest) -> None:
    licence = {
        "license": ["mit", "no: 1"],
        "license_name": 'his "own"\n# one',
        "license_link": "LICENSE",
        "language": "en",
    }
    fields = ModelCard(model_card(manifest, NAME, licence)).data.to_dict()
    assert {name: fields[name] for name in licence if name in fields} == {
        name: value for name, value in licence.items() if name != "language"
    }


def test_a_folder_of_this_machine_is_no_base_model_and_its_path_is_not_told(manifest: Manifest) -> None:
    card = model_card(replace(manifest, source=Source("/home/me/secret/my-reader", None, "cd" * 32)), NAME)
    assert "base_model" not in ModelCard(card).data.to_dict()
    assert "`my-reader`" in card
    assert "secret" not in card
    assert "cd" * 32 in card


def test_every_check_stands_in_the_card_with_its_numbers(manifest: Manifest) -> None:
    cells = rows(model_card(manifest, NAME))
    for variant in manifest.variants:
        name = [variant.file, variant.backend] if variant.parity else [f"{variant.backend} {variant.precision}"]
        (row,) = (row for row in cells if [cell.strip("| ") for cell in row[: len(name)]] == name)
        if parity := variant.parity:
            assert float(row[2]) == pytest.approx(parity.largest_error, rel=0.05)
            assert float(row[3].rstrip("%")) / 100 == pytest.approx(parity.share_of_tolerance, abs=6e-4)
            assert row[5].startswith(parity.engine)
            assert ("not on tensorrt yet" in row[5]) is not variant.verified
            assert row[6].rstrip(" |") == ", ".join(f"{batch}x{length}" for batch, length in parity.shapes)
        else:
            shown = [float(cell.removesuffix(" (low)")) for cell in row[1 : 1 + len(variant.accuracy_drop.metrics)]]
            assert shown == pytest.approx(list(variant.accuracy_drop.metrics.values()), abs=6e-4)
    (least,) = (row for row in cells if row[0].strip("| ") == "at least")
    assert f"{BOUNDS['same_passage']:.2f}" in least


def test_a_metric_below_its_bound_is_marked(manifest: Manifest) -> None:
    lossy = next(variant for variant in manifest.variants if variant.accuracy_drop)
    loss = replace(lossy.accuracy_drop, metrics={"same_span": 0.5, "same_passage": 0.99}, below_bound=("same_span",))
    card = model_card(
        replace(manifest, variants=(manifest.variants[0], replace(lossy, accuracy_drop=loss, verified=False))), NAME
    )
    assert "| 0.500 (low) | 0.990 |" in card


def test_a_graph_that_was_not_checked_on_its_engine_is_said_to_be_so(manifest: Manifest) -> None:
    first = replace(manifest.variants[0], backend="tensorrt", verified=False)
    assert ", not on tensorrt yet |" in model_card(replace(manifest, variants=(first,)), NAME)


def test_every_file_stands_in_the_card_with_its_hash(manifest: Manifest) -> None:
    card = model_card(manifest, NAME)
    for name, record in manifest.files.items():
        assert f"| {name} | {record.bytes:,} | {record.sha256} |" in card


def test_a_folder_without_lossy_variants_has_no_such_chapter(plain: Callable[..., Path]) -> None:
    card = model_card(ExportedFolder.read(plain("question")).manifest, "somebody/question-onnx")
    assert "Accuracy of the faster variants" not in card
    assert "## Parity check" in card


def test_what_a_manifest_holds_breaks_no_table_and_adds_no_line(manifest: Manifest) -> None:
    lossy = next(variant for variant in manifest.variants if variant.accuracy_drop)
    odd = replace(lossy, accuracy_drop=replace(lossy.accuracy_drop, settings="a | b\n# Title"))
    card = model_card(replace(manifest, variants=(odd,)), NAME)
    assert "a ? b ? Title" in card
    assert "\n# Title" not in card


def test_a_strangers_manifest_puts_no_markup_into_the_card(manifest: Manifest) -> None:
    evil = "x](http://evil)\n\n# EVIL <script>`"
    hostile = replace(manifest, source=replace(manifest.source, name=evil, revision=evil, sha256=evil))
    lossy = tuple(replace(variant, backend="no such engine") for variant in manifest.variants)
    for card in (model_card(hostile, NAME), model_card(replace(hostile, variants=lossy), NAME)):
        body = card.split("---\n", 2)[2]
        assert "<script>" not in body
        assert "\n# EVIL" not in body
        assert "](http://evil)" not in body


def test_the_card_is_a_function_of_the_manifest_alone(manifest: Manifest) -> None:
    read_back = Manifest.from_json(manifest.to_json())
    assert model_card(manifest, NAME) == model_card(read_back, NAME)
    assert re.search(r'pip install "dpr-export\[openvino\]"', model_card(manifest, NAME))
    only = replace(manifest, variants=tuple(v for v in manifest.variants if v.backend == "onnxruntime"))
    assert 'pip install "dpr-export[cpu]"' in model_card(only, NAME)
    assert json.dumps(NAME) in model_card(manifest, NAME)
