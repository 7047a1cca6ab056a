"""A manifest reads back as it was written, and nothing that is wrong with one gets through."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpr_export.models.artifact.manifest import (
    REQUIRED_FILES,
    SCHEMA,
    AccuracyDrop,
    FileRecord,
    Manifest,
    ParityResult,
    Source,
    Variant,
)

FILES = {name: FileRecord(3, "a" * 64) for name in ("onnx/model.onnx", "onnx/model_int8.onnx", *REQUIRED_FILES)}
PARITY = ParityResult("engine 1.0", ((1, 1), (3, 7)), 1e-4, 2.5e-7, 0.0025)
LOSS = AccuracyDrop(
    "engine 1.0", ((1, 1),), 0.5, 0.98, 0.97, {"same_span": 0.93, "f1": 1.0}, ("f1",), "d" * 64, "e" * 64, "heads"
)
MANIFEST = Manifest(
    kind="reader",
    source=Source("demo/reader", None, "c" * 64),
    versions={"torch": "2.13.0"},
    opset=18,
    variants=(
        Variant("onnxruntime", "fp32", "onnx/model.onnx", PARITY),
        Variant("openvino", "int8", "onnx/model_int8.onnx", None, LOSS, False, {"BiasGelu": 6}, 2.5),
    ),
    files=FILES,
)


def test_a_manifest_reads_back_as_it_was_written() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST


@pytest.mark.parametrize("schema", [1, 2])
def test_a_manifest_of_an_older_schema_says_in_one_line_to_export_again(schema: int) -> None:
    values = {"schema": schema, "kind": "reader", "variants": [{"file": "onnx/model.onnx", "proof": {}}], "files": {}}
    with pytest.raises(ValueError, match=f"has schema {schema}, .*: export the checkpoint again$") as refusal:
        Manifest.from_json(json.dumps(values))
    assert "\n" not in str(refusal.value)


def edited(*path: str | int, value: Any) -> str:
    values = json.loads(MANIFEST.to_json())
    place = values
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("[]", "of the wrong type"),
        ("{}", r"manifest\.json lacks files"),
        (edited("schema", value=SCHEMA + 1), f"has schema {SCHEMA + 1}, and this dpr-export reads up to {SCHEMA}: pip"),
        (edited("schema", value="1"), "schema is '1', of the wrong type"),
        (edited("schema", value=True), "schema is True, of the wrong type"),
        (edited("opset", value=18.5), r"opset is 18\.5, of the wrong type"),
        (edited("source", "revision", value=7), "source.revision is 7"),
        (edited("source", value=None), "source is None"),
        (edited("variants", value={}), "variants is {}"),
        (edited("variants", 0, "parity", "shapes", value=[[1]]), "shapes is"),
        (edited("variants", 0, "parity", "shapes", value=[["a", 1]]), "shapes is 'a'"),
        (
            edited("variants", 0, "parity", value=None),
            r"onnx/model\.onnx must have parity or accuracy_drop, and not both",
        ),
        (
            edited("variants", 1, "accuracy_drop", value=None),
            r"model_int8\.onnx must have parity or accuracy_drop, and not both",
        ),
        (
            edited(
                "variants", 0, "accuracy_drop", value=json.loads(MANIFEST.to_json())["variants"][1]["accuracy_drop"]
            ),
            "and not both",
        ),
        (
            edited("variants", 1, "accuracy_drop", "metrics", value={"f1": "high"}),
            "metrics.f1 is 'high', of the wrong type",
        ),
        (edited("variants", 1, "accuracy_drop", "metrics", value={"f1": float("nan")}), "NaN is no number"),
        (edited("variants", 1, "accuracy_drop", "below_bound", value="f1"), "below_bound is 'f1', of the wrong type"),
        (edited("variants", 1, "accuracy_drop", value={}), r"lacks variants\.accuracy_drop\.below_bound"),
        (edited("variants", 1, "verified", value=1), "verified is 1, of the wrong type"),
        (
            edited("variants", 1, "fused_operators", value={"BiasGelu": 1.5}),
            "fused_operators.BiasGelu is 1.5, of the wrong type",
        ),
        (edited("variants", 1, "speedup", value="fast"), "speedup is 'fast', of the wrong type"),
        (edited("variants", 0, "file", value="onnx/other.onnx"), "'onnx/other.onnx' is not among the files"),
        (edited("files", "../outside", value={"bytes": 1, "sha256": ""}), "'../outside', which is not a path within"),
        (edited("files", "/etc/passwd", value={"bytes": 1, "sha256": ""}), "'/etc/passwd', which is not a path within"),
        (edited("files", "a\\..\\b", value={"bytes": 1, "sha256": ""}), "which is not a path within"),
        (edited("files", "", value={"bytes": 1, "sha256": ""}), "which is not a path within"),
        (edited("files", "config.json", value={"bytes": -1}), "lacks files.config.json.sha256"),
        (edited("variants", value=[]), "names no variants"),
        (edited("similarity", value="dot"), "similarity is 'dot', and must be one of: inner_product, cosine"),
        (edited("kind", value="zz"), "kind is 'zz', and must be one of: question, context, reader"),
        (edited("variants", 0, "parity", "atol", value=float("inf")), "Infinity is no number that can be compared"),
        (MANIFEST.to_json().replace('"reference_outputs.npz"', '"gold.npz"'), "does not list reference_outputs.npz"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_wrong_manifest_is_refused_with_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Manifest.from_json(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PLACES = [
    *(
        ("kind",),
        ("source",),
        ("source", "name"),
        ("versions",),
        ("opset",),
        ("variants",),
        ("variants", 0),
        ("files",),
    ),
    *(("files", "config.json"), ("variants", 0, "parity"), ("variants", 0, "parity", "shapes"), ("schema",)),
]


@given(st.sampled_from(PLACES), JSON)
def test_any_value_in_any_place_is_read_or_is_a_value_error(place: tuple, value: Any) -> None:
    try:
        assert isinstance(Manifest.from_json(edited(*place, value=value)), Manifest)
    except ValueError as error:
        assert "manifest.json" in str(error)  # noqa: PT017
