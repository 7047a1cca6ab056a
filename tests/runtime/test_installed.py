"""An environment that holds nothing but `dpr-export[cpu]`, installed as a wheel, answers from an exported folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ci

ROOT = Path(__file__).parent.parent.parent
ANSWER = """
import importlib.util, sys
from dpr_export.runtime import DPRReader
for name in ("torch", "transformers", "onnx"):
    assert importlib.util.find_spec(name) is None, name
with DPRReader.from_pretrained(sys.argv[1], verify=True) as reader:
    print(reader.answer("who wrote hamlet ?", ["hamlet"], ["shakespeare"])[0].text)
"""


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment with the one extra."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    command = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", f"{ROOT}[cpu]"]
    subprocess.run([*command, "--constraint", ROOT / "constraints.txt"], check=True)
    return environment / "bin"


def test_the_runtime_alone_answers(binaries: Path, tiny: dict[str, Path], tmp_path: Path) -> None:
    done = subprocess.run(
        [binaries / "python", "-c", ANSWER, tiny["reader"]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "shakespeare\n"), done.stderr


def test_the_runtimes_command_verifies(binaries: Path, tiny: dict[str, Path]) -> None:
    done = subprocess.run(
        [binaries / "dpr-runtime", "verify", tiny["reader"]], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "PASSED"), done.stderr


def test_the_exporters_command_says_what_to_install(binaries: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    done = subprocess.run(
        [binaries / "dpr-export", tmp_path / "checkpoint"],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == 'dpr-export: onnx is not installed: pip install "dpr-export[export]"'
