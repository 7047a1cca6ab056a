"""What each package offers, and that the examples in its docstrings run."""

import ast
import doctest
import importlib
import pkgutil
import sys
from pathlib import Path

import pytest

ELSEWHERE = {"dpr_export.exporter.optimum"}  # needs an environment of its own: tests/optimum runs its examples
PACKAGES = ("dpr_export.models", "dpr_export.exporter", "dpr_export.quantization", "dpr_export.runtime")
# An editable install's namespace package cannot be walked, so each of the four is.
MODULES = sorted(
    module.name
    for package in PACKAGES
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
    if module.name not in ELSEWHERE
)


@pytest.mark.parametrize("name", ["dpr_export.exporter", "dpr_export.quantization", "dpr_export.runtime"])
def test_all_names_what_the_package_imports_and_is_sorted(name: str) -> None:
    package = importlib.import_module(name)
    assert package.__file__
    tree = ast.parse(Path(package.__file__).read_text())
    imports = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert package.__all__ == sorted(imports)
    assert all(hasattr(package, public) for public in package.__all__)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_is_typed(name: str) -> None:
    package = importlib.import_module(name)
    assert package.__file__
    assert (Path(package.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_modules_opens_with_what_it_is_for() -> None:
    assert len(MODULES) > 20
    for name in MODULES:
        assert len(importlib.import_module(name).__doc__ or "") > 40, f"{name} does not say what it is for"


def test_no_second_copy_of_a_package_was_imported() -> None:
    assert not {"models", "exporter", "quantization", "runtime"} & sys.modules.keys()
