"""The pages have the tables that the code makes, and each difference from transformers has a test."""

import ast
from pathlib import Path

import pytest

from tests.supported import BLOCKS, DIFFERENCES, DOCS, Difference, fill_in

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("page", BLOCKS)
def test_a_page_has_the_tables_of_the_code(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert text == fill_in(page, text), "run: python -m tests.supported"


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.test.partition("::")[2])
def test_a_difference_has_its_test(difference: Difference) -> None:
    file, _, name = difference.test.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_difference_has_a_test_of_its_own() -> None:
    assert len({difference.test for difference in DIFFERENCES}) == len(DIFFERENCES)
