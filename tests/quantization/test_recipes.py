"""A recipe does what it says it did: what it leaves in float32 is in float32, and the rest is integers."""

from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dpr_export.models.artifact.variants import MODEL_FILE
from dpr_export.models.kinds import KINDS
from dpr_export.quantization import read_texts, tokenize_each
from dpr_export.quantization.passes.parts import HEADS, find_parts, name_part
from dpr_export.quantization.recipes import RECIPES, rank_parts
from dpr_export.runtime.engines.session import Feeds

PARTS = {"layer 0 attention", "layer 0 feed-forward", "layer 1 attention", "layer 1 feed-forward"}


def calls(kind: str, folder: Path, few: dict[str, Path]) -> list[Feeds]:
    return tokenize_each(KINDS[kind], folder, read_texts(few["calibration"]).rows)


def quantized_parts(graph: Path) -> set[str]:
    """The parts of which a product with a constant reads integers, by the names that the nodes keep."""
    model = onnx.load(graph)
    made_by = {name: node for node in model.graph.node for name in node.output}

    def integers(name: str) -> bool:
        node = made_by.get(name)
        return node is not None and node.op_type == "DequantizeLinear"

    return {
        name_part(node.name)
        for node in model.graph.node
        if node.op_type in ("MatMulInteger", "MatMulNBits")
        or (node.op_type in ("MatMul", "Gemm") and all(map(integers, node.input[:2])))
    }


def test_the_parts_of_a_graph_are_its_layers_halves_and_its_heads(tiny: dict[str, Path]) -> None:
    found = {kind: find_parts(onnx.load(tiny[kind] / MODEL_FILE)) for kind in KINDS}
    assert found["reader"].keys() == {*PARTS, HEADS}
    assert found["question"].keys() == found["context"].keys() == PARTS
    assert len(found["reader"]["layer 0 feed-forward"]) == 2
    assert len(found["reader"]["layer 0 attention"]) == 6  # four projections, scores, and the mix of values
    assert len(found["reader"][HEADS]) == 2


@pytest.mark.parametrize(("recipe", "first"), [("static_int8", 1), ("dynamic_int8", 2)])
def test_heads_stay_in_float32_and_all_else_is_integers(
    tiny: dict[str, Path], tmp_path: Path, few: dict[str, Path], recipe: str, first: int
) -> None:
    source, output = tiny["reader"] / MODEL_FILE, tmp_path / "int8.onnx"
    for made in islice(RECIPES[recipe](source, output, calls("reader", tiny["reader"], few)), first):
        assert "heads in float32" in made.settings
        assert quantized_parts(output) == PARTS


@pytest.mark.ci
def test_static_int8_leaves_one_more_part_in_float32_with_each_setting(
    tiny: dict[str, Path], tmp_path: Path, few: dict[str, Path]
) -> None:
    source, output = tiny["reader"] / MODEL_FILE, tmp_path / "int8.onnx"
    left: list[set[str]] = []
    more: list[bool] = []
    for made in RECIPES["static_int8"](source, output, calls("reader", tiny["reader"], few)[:8]):
        named = {part for part in PARTS if part in made.settings}
        assert quantized_parts(output) == PARTS - named
        left.append(named)
        more.append(made.has_more)
    assert [len(named) for named in left] == [0, 1, 2, 3, 4]
    assert all(fewer < further for fewer, further in pairwise(left))
    assert more == [True, True, True, True, False]


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(name, marks=pytest.mark.ci if name == "tensorrt_int8" else [])
        for name in sorted(RECIPES.keys() - {"static_int8"})
    ],
)
def test_a_recipe_says_whether_other_settings_follow(
    tiny: dict[str, Path], tmp_path: Path, few: dict[str, Path], recipe: str
) -> None:
    source, texts = tiny["question"] / MODEL_FILE, calls("question", tiny["question"], few)[:8]
    more = [made.has_more for made in RECIPES[recipe](source, tmp_path / "made.onnx", texts)]
    assert more == [True] * (len(more) - 1) + [False]


def test_parts_are_ranked_by_the_error_that_is_left_without_them(
    tiny: dict[str, Path], tmp_path: Path, few: dict[str, Path]
) -> None:
    source = tiny["question"] / MODEL_FILE
    noise = {"much is left": 1.0, "nothing is left": 0.0, "little is left": 0.1}

    def leave_out(part: str) -> Path:
        model = onnx.load(source)
        generator = np.random.default_rng(0)
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.shape == (32, 64):
                added = (generator.normal(0, noise[part], values.shape)).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(values + added, tensor.name))
        path = tmp_path / f"{part}.onnx"
        onnx.save(model, path)
        return path

    ranked = rank_parts(noise, leave_out, source, calls("question", tiny["question"], few)[:4])
    assert ranked == ["nothing is left", "little is left", "much is left"]
