"""README.md, the table of transformers' tests and ours, is true: what it names exists, each row has one outcome."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

TABLE = Path(__file__).with_name("README.md")
TESTS = TABLE.parent.parent
OUTCOMES = ("passed", "mended", "not applicable")
NAMED = re.compile(r"`([\w/]+)::(\w+)`")


def sections() -> dict[str, list[list[str]]]:
    """The cells of each section's rows, by its heading: transformers, the outcome, ours or why not."""
    found: dict[str, list[list[str]]] = {}
    for part in TABLE.read_text(encoding="utf-8").split("\n## ")[1:]:
        heading, *lines = part.splitlines()
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
        found[heading] = [row for row in rows if row[0] != "transformers" and not row[0].startswith("---")]
    return found


ROWS = [(heading, *row) for heading, rows in sections().items() for row in rows]


def collected(file: str) -> set[str]:
    """The tests that pytest collects from a file, named by its place within `tests`."""
    path = TESTS / f"{file}.py"
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_the_table_has_the_tests_of_every_file() -> None:
    assert len(sections()) == 9
    assert all(len(rows) > 1 for rows in sections().values())
    assert len(ROWS) > 350
    assert all(len(row) == 4 for row in ROWS), [row for row in ROWS if len(row) != 4]


def test_every_transformers_test_has_one_outcome() -> None:
    counted = Counter((heading, reference) for heading, reference, *_ in ROWS)
    assert [place for place, count in counted.items() if count > 1] == []
    assert {outcome for _, _, outcome, _ in ROWS} == set(OUTCOMES)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_row_names_tests_that_exist_or_says_why_there_is_none(outcome: str) -> None:
    for _, reference, its_outcome, cell in ROWS:
        if its_outcome != outcome:
            continue
        named = NAMED.findall(cell)
        assert bool(named) == (outcome != "not applicable"), reference
        assert named or len(cell) > 3, reference
        for file, test in named:
            assert test in collected(file), f"{reference}: there is no {file}::{test}"


def test_every_test_of_this_folder_is_named_or_goes_beyond() -> None:
    """What no row names was not asked there: most often what is mended."""
    named = {test for *_, cell in ROWS for _, test in NAMED.findall(cell)}
    here = {
        test
        for path in TABLE.parent.glob("test_*_properties.py")
        for test in collected(f"from_transformers/{path.stem}")
    }
    assert here <= named, here - named
