"""Options of an export are checked when they are made, and each knows whether it applies to an exported folder."""

from typing import Any

import pytest

from dpr_export.exporter import ExportOptions
from dpr_export.quantization import VariantOptions


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"opset": 17}, r"opset is 17, and must be within 18\.\.23"),
        ({"opset": 24}, r"opset is 24, and must be within 18\.\.23"),
        ({"kind": "answer"}, "kind is 'answer', and must be one of question, context, reader"),
        ({"heads": 0}, "heads is 0, and must be 1 or more"),
        ({"atol": 0.0}, "atol is 0.0, and must be above 0"),
        ({"atol": float("nan")}, "atol is nan, and must be above 0"),
        ({"precisions": ["fp7"]}, "precision is 'fp7', and must be one of"),
        ({"backends": ["tvm"]}, "backend is 'tvm', and must be one of"),
        ({"allow_loss": True}, r"allow_loss has no effect on fp32: give another precision too \(--precision int8\)"),
        ({"calibration": "texts.jsonl"}, "calibration has no effect on fp32"),
    ],
)
def test_a_value_out_of_bounds_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExportOptions(**values)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="precision"):
        ExportOptions(precision="int8")  # type: ignore[call-arg]


def test_options_that_apply_to_a_checkpoint_only_are_listed() -> None:
    options = ExportOptions(precisions=["int8"], force=True, token="t", opset=18, inputs_embeds=True)
    assert options.for_checkpoints() == ["opset", "inputs_embeds"]
    assert ExportOptions(output_attentions=False).for_checkpoints() == ["output_attentions"]


def test_the_options_of_an_export_are_options_for_variants_too() -> None:
    assert isinstance(ExportOptions(), VariantOptions)
