"""Every layout of checkpoint that people publish: the tokens and vectors of its own library, or a refusal."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dpr_export.exporter import ExportError, ExportOptions, export
from dpr_export.exporter.checkpoint.load import load
from dpr_export.runtime import DPRContextEncoder, DPRQuestionEncoder
from tests.checkpoints import checkpoint_in
from tests.layouts.damages import DAMAGED
from tests.layouts.original import Original, Row
from tests.layouts.rebuild import LAYOUTS, QUICK
from tests.layouts.refused import REFUSED
from tests.layouts.texts import PAIRS, STRINGS

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

LARGEST = 2e-5
ENCODERS = {"question": DPRQuestionEncoder, "context": DPRContextEncoder}
Rebuild = Callable[[str], Original]


@dataclass(frozen=True)
class Answers:
    """What an export gives."""

    tokens: list[list[int]]
    vectors: np.ndarray


def in_ci(is_ci: bool, *values: str) -> Any:
    """A case, for CI alone if it takes seconds."""
    return pytest.param(*values, marks=[pytest.mark.ci] if is_ci else [], id=", ".join(values))


def rows_of(kind: str) -> list[Row]:
    if kind == "question":
        return [(text,) for text in STRINGS]
    return [(title, text) if title else (text,) for title, text in PAIRS]


def run_export(original: Original, output: Path) -> Answers:
    export(str(original.source), output, ExportOptions(backends=["onnxruntime"], **original.options))
    rows = rows_of(original.kind)
    with ENCODERS[original.kind].from_pretrained(output, backend="onnxruntime", precision="fp32") as model:
        tokens = [list(ids) for ids in model.tokenize(rows).input_ids]
        texts = [row[-1] for row in rows]
        titles = [row[0] if len(row) == 2 else "" for row in rows]
        vectors = model.encode(texts) if original.kind == "question" else model.encode(texts, titles)
    return Answers(tokens, vectors)


def first_difference(rows: Sequence[Row], found: list[list[int]], expected: list[list[int]]) -> str:
    differing = [row for row, one, other in zip(rows, found, expected, strict=True) if one != other]
    if not differing:
        return ""
    place = list(rows).index(differing[0])
    return f"{len(differing)} rows have other tokens: {differing[0]!r} has {found[place]}, not {expected[place]}"


def comparable(rows: Sequence[Row]) -> list[bool]:
    """Whether no text of a row holds a literal `<pad>`: such a token has the position of padding in RoBERTa."""
    return [not any("<pad>" in text for text in row) for row in rows]


def test_a_literal_pad_token_in_a_text_of_roberta_has_a_position_of_its_own(tmp_path: Path) -> None:
    original = LAYOUTS["roberta, mean"](tmp_path / "checkpoint")
    loaded = load(checkpoint_in(original.source, options=ExportOptions(**original.options)))
    rows: list[Row] = [("a <pad> b",), ("a b",)]
    differences = []
    for ids, vector in zip(original.tokenize(rows), original.vectors(rows), strict=True):
        given = torch.tensor([ids])
        found = loaded.model(given, torch.ones_like(given), torch.zeros_like(given)).pooler_output
        differences.append(np.abs(found.detach().numpy() - vector).max())
    assert differences[0] > 1e-3
    assert differences[1] < LARGEST


@pytest.mark.parametrize("layout", [in_ci(layout not in QUICK, layout) for layout in LAYOUTS])
def test_an_export_gives_what_its_own_library_gives(
    layout: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    original = LAYOUTS[layout](tmp_path / "checkpoint")
    rows = rows_of(original.kind)
    answers = run_export(original, tmp_path / "output")
    assert not first_difference(rows, answers.tokens, original.tokenize(rows))
    largest = float(np.abs(answers.vectors - original.vectors(rows))[comparable(rows)].max())
    print(f"{layout}: largest difference {largest:.1e}")
    record_property("largest difference", largest)
    assert largest < LARGEST


@pytest.mark.parametrize("layout", REFUSED)
def test_what_would_compute_something_else_is_refused_by_name(layout: str, tmp_path: Path) -> None:
    refused = REFUSED[layout]
    original = refused.make(tmp_path / "checkpoint")
    with pytest.raises((ExportError, ValueError), match=refused.match) as error:
        export(str(original.source), tmp_path / "output", ExportOptions(backends=["onnxruntime"], **original.options))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "output").exists()


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Rebuild:
    """A function that rebuilds a layout; only the last is kept."""
    kept: dict[str, Original] = {}

    def rebuild(layout: str) -> Original:
        if layout not in kept:
            kept.clear()
            kept[layout] = LAYOUTS[layout](tmp_path_factory.mktemp("layout") / "checkpoint")
        return kept[layout]

    return rebuild


DAMAGES = [
    in_ci(not harm.must_fail, layout, damage) for layout, harms in DAMAGED.items() for damage, harm in harms.items()
]


@pytest.mark.parametrize(("layout", "damage"), DAMAGES)
def test_a_damaged_checkpoint_is_refused_or_gives_the_same(
    layout: str, damage: str, rebuilt: Rebuild, tmp_path: Path
) -> None:
    original, harm = rebuilt(layout), DAMAGED[layout][damage]
    copy = copied(original, tmp_path)
    harm.apply(copy.source)
    if harm.must_fail:
        with pytest.raises(ExportError) as error:
            run_export(copy, tmp_path / "output")
        assert "\n" not in str(error.value)
        assert not (tmp_path / "output").exists()
    else:
        assert_refused_or_same(copy, tmp_path / "output")


def copied(original: Original, folder: Path) -> Original:
    """The same checkpoint in a folder of its own, to damage. What it refers to elsewhere is shared."""
    if original.source.is_file():
        return replace(original, source=Path(shutil.copy(original.source, folder)))
    return replace(original, source=Path(shutil.copytree(original.source, folder / "copy")))


def assert_refused_or_same(original: Original, output: Path) -> None:
    try:
        answers = run_export(original, output)
    except ExportError:
        return
    np.testing.assert_allclose(answers.vectors, original.vectors(rows_of(original.kind)), rtol=0, atol=LARGEST)
