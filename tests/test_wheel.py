"""The wheel holds the four code folders whole, and nothing else: no package can be forgotten in pyproject.toml."""

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("exporter", "models", "quantization", "runtime")
NEEDED = ("pyproject.toml", "README.md", "LICENSE")
BUILD = "from setuptools import build_meta; build_meta.build_wheel('dist')"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the tree, with all that stands beside the code folders."""
    copy = tmp_path_factory.mktemp("copy") / "tree"
    copy.mkdir()
    for name in (*FOLDERS, "benchmarks", "scripts", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in NEEDED:
        shutil.copy(ROOT / name, copy / name)
    done = subprocess.run([sys.executable, "-c", BUILD], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = (copy / "dist").iterdir()
    return made


def test_the_wheel_has_the_files_of_the_tree_and_no_others(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    tree = {
        f"dpr_export/{path.relative_to(ROOT).as_posix()}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(tree) > 100
    assert {name for name in names if ".dist-info/" not in name} == tree


def test_the_wheel_has_both_commands_and_the_license(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        texts = {Path(name).name: archive.read(name).decode() for name in archive.namelist() if ".dist-info/" in name}
    commands = [line.partition(" =")[0] for line in texts["entry_points.txt"].splitlines()]
    assert commands == ["[console_scripts]", "dpr-export", "dpr-runtime"]
    assert texts["LICENSE"] == (ROOT / "LICENSE").read_text()
