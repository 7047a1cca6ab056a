"""The README and docs/ are true: every command and every piece of Python in them runs, and prints what they show.

A block that leaves out lines says so with a line of three dots; what stands between those is printed in that order.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dpr_export.exporter.demo import PASSAGES_FILE, QUESTION
from scripts.draw_rooms import PICTURE, draw
from tests.hub.server import TOKEN, running
from tests.layouts.rebuild import LAYOUTS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENTS = {path.name: path.read_text(encoding="utf-8") for path in (README, *sorted((ROOT / "docs").glob("*.md")))}
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    """The code blocks of a language in all documents, each once, in order."""
    found = re.findall(rf"```{language}\n(.*?)```", "\n".join(DOCUMENTS.values()), flags=re.DOTALL)
    return list(dict.fromkeys(found))


CONSOLE = blocks("console")
PYTHON = blocks("python")
OPTIMUM = [code for code in PYTHON if "optimum" in code]  # runs in an environment of its own, in tests/optimum
COMMANDS = list(dict.fromkeys(line[2:] for block in CONSOLE for line in block.splitlines() if line.startswith("$ ")))
CORPUS = [command for block in CONSOLE if "dpr-runtime index" in block for command in COMMANDS if command in block]
ELSEWHERE = ("build", "pack")
# What stands on the hub under the names of checkpoints of other layouts.
ON_THE_HUB = {
    "sentence-transformers/facebook-dpr-question_encoder-multiset-base": "sentence-transformers, cls",
    "somebody/french-question-encoder": "camembert, pooler",
}
# Without what make tells the makes that it starts, since this may run under `make test`.
OUTSIDE_MAKE = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
OFFLINE = {**OUTSIDE_MAKE, "HF_HUB_OFFLINE": "1", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


def run(command: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(shlex.split(command), cwd=cwd, env=OFFLINE, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def home(demo: dict[str, Path]) -> Path:
    """A folder with what the commands find beside them."""
    folder = demo["reader"].parent
    shutil.copy(PASSAGES_FILE, folder / "passages.jsonl")
    (folder / "questions.txt").write_text("Who led the work?\nWhen was it opened?\n")
    (folder / "questions.tsv").write_text("Who led the building of the Suez Canal?\t['Ferdinand de Lesseps']\n")
    return folder


def test_the_commands_are_the_ones_that_are_run_here() -> None:
    assert len(COMMANDS) == 28
    assert {command.split()[0] for command in COMMANDS} == {"make", "pip", "dpr-export", "dpr-runtime"}


@pytest.mark.parametrize(
    "command",
    [c for c in COMMANDS if c.startswith("dpr-runtime") and c.split()[1] not in ELSEWHERE and c not in CORPUS],
)
def test_a_runtime_command_runs(home: Path, command: str) -> None:
    assert run(command, home).returncode == 0


def test_the_commands_for_corpora_lead_from_passages_to_answers(home: Path) -> None:
    assert [command.split()[1] for command in CORPUS] == ["encode", "index", "search", "ask", "evaluate"]
    block = next(block for block in CONSOLE if CORPUS[0] in block)
    shown = {command.split()[1]: run(command, home).stdout for command in CORPUS}
    *answered, read = without_numbers(shown["ask"]).strip().splitlines()
    assert "\n".join(answered) in without_numbers(block)
    assert read.startswith("5 of 5 passages read: load ")
    assert shown["search"].splitlines()[1].startswith("  1  Panama Canal ")
    assert "exact match, %" in shown["evaluate"]
    assert (home / "judged.png").is_file()


@pytest.mark.ci
@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("dpr-export demo")])
def test_an_export_command_runs(tmp_path: Path, command: str) -> None:
    run(command, tmp_path)
    (made,) = tmp_path.iterdir()
    assert (made / "manifest.json").is_file()


@pytest.mark.ci
@pytest.mark.parametrize("command", [c for c in COMMANDS if ".cp --kind" in c])
def test_a_command_for_a_file_of_facebookresearch_dpr_runs(checkpoint, tmp_path: Path, command: str) -> None:
    folder = checkpoint("question", "bert-base-uncased", hidden_size=128, num_attention_heads=2)
    weights = load_file(folder / "model.safetensors")
    there = {name.replace("question_encoder.bert_model", "question_model"): w for name, w in weights.items()}
    torch.save({"model_dict": there}, tmp_path / "dpr_biencoder.cp")
    run(command, tmp_path)
    assert (tmp_path / "dpr_biencoder-question-onnx" / "manifest.json").is_file()


@pytest.mark.ci
@pytest.mark.parametrize("command", [c for c in COMMANDS if "/" in c and "--kind" in c])
def test_a_command_for_another_layout_runs(tmp_path: Path, command: str) -> None:
    name = command.split()[1]
    original = LAYOUTS[ON_THE_HUB[name]](tmp_path / "checkpoint")
    with running() as hub, pytest.MonkeyPatch.context() as patch:
        hub.add(name, original.source)
        for variable, value in {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.endpoint, "NO_PROXY": "127.0.0.1"}.items():
            patch.setitem(OFFLINE, variable, value)
        (tmp_path / "here").mkdir()
        run(command, tmp_path / "here")
    (made,) = (tmp_path / "here").iterdir()
    assert (made / "manifest.json").is_file()


@pytest.mark.ci
@pytest.mark.parametrize("command", [c for c in COMMANDS if "--precision" in c and "facebook/" not in c])
def test_a_command_that_adds_variants_runs_and_prints_the_table_shown(
    demo: dict[str, Path], tmp_path: Path, command: str
) -> None:
    shutil.copytree(demo["question"], tmp_path / "question-onnx")
    shown = run(command, tmp_path).stdout
    block = next(block for block in CONSOLE if command in block)
    table = block.partition("\nvariant ")[2].splitlines()[1:4]
    for line in table:
        assert without_numbers(line).split()[:2] in [without_numbers(each).split()[:2] for each in shown.splitlines()]
    if "tensorrt" in command:
        builds_an_engine(tmp_path)
    else:
        packs_a_variant(tmp_path)


def packs_a_variant(folder: Path) -> None:
    """The command for small machines: it prints what the documents show."""
    (command,) = (c for c in COMMANDS if " pack " in c)
    (shown,) = run(command, folder).stdout.splitlines()
    block = next(block for block in CONSOLE if command in block).splitlines()[1:]
    assert without_numbers(shown) == without_numbers(*block)
    assert run("dpr-runtime verify question-edge", folder).stdout.endswith("PASSED\n")


def builds_an_engine(folder: Path) -> None:
    """The command after that one: it prints what the documents show."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is for Linux on x86-64 alone")
    (command,) = (c for c in COMMANDS if " build " in c)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OFFLINE, "XDG_CACHE_HOME", str(folder / "cache"))
        shown = run(command, folder).stdout.splitlines()
    block = next(block for block in CONSOLE if command in block).splitlines()[1:]
    assert len(shown) == len(block) == 3
    size = re.compile(r"\d+ MB")
    assert size.sub("", without_numbers(shown[0])) == size.sub("", without_numbers(block[0]))
    assert shown[1] == block[1]
    assert shown[2].startswith(f"in {folder / 'cache'}")
    assert shown[2].endswith(block[2].removeprefix("in ..."))


@pytest.mark.parametrize("command", [c for c in COMMANDS if " facebook/" in c])
def test_a_command_that_needs_the_hub_runs_up_to_its_clear_error(tmp_path: Path, command: str) -> None:
    error = run(command, tmp_path, code=1).stderr
    assert error.startswith("dpr-export: facebook/dpr-reader-single-nq-base is not in the cache and the hub cannot be")
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", [c for c in COMMANDS if "--push-to-hub" in c])
def test_a_command_that_pushes_does(tiny: dict[str, Path], tmp_path: Path, command: str) -> None:
    shutil.copytree(tiny["question"], tmp_path / "question-onnx")
    with running() as hub, pytest.MonkeyPatch.context() as patch:
        asked = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        for name, value in {**asked, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"}.items():
            patch.setitem(OFFLINE, name, value)
        run(command, tmp_path)
        assert hub.repos["somebody/question-onnx"].private


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("pip")])
def test_an_install_command_names_what_there_is(command: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (named,) = re.findall(r"\[([\w-]+)\]", command)
    (constraints,) = re.findall(r"--constraint (\S+)", command)
    assert named in extras
    assert (ROOT / constraints).is_file()


def commands_of(target: str) -> list[str]:
    """What make would run for a target whose environment is there already."""
    stamp = ROOT / "build" / f"{target}-venv"
    stamp.mkdir(parents=True, exist_ok=True)
    (stamp / f"{target}.done").touch()
    done = run(f"make --no-print-directory --dry-run {target} VENV={stamp.relative_to(ROOT)}", ROOT)
    shutil.rmtree(stamp)
    return done.stdout.replace(f"{stamp.relative_to(ROOT)}/bin/", "").splitlines()


def test_make_demo_exports_and_answers_as_shown(home: Path) -> None:
    exported, _, answered = commands_of("demo")
    assert exported == "dpr-export demo/reader --force"
    arguments = shlex.split(answered)
    assert arguments[:2] == ["dpr-runtime", "answer"]
    assert arguments[-1] == QUESTION
    shown = run(answered.replace("exporter/demo/", ""), home).stdout
    block = next(block for block in CONSOLE if block.startswith("$ make demo"))
    assert_shows(block, shown)


def assert_shows(block: str, printed: str) -> None:
    """The block's lines after its command stand in what was printed; three dots leave lines out."""
    rest = without_numbers(printed)
    _, *parts = re.split(r"\n\.\.\.(?:\n|$)", without_numbers(block))
    for part in filter(str.strip, parts):
        _, found, rest = rest.partition(part.strip("\n"))
        assert found, f"not printed, or not in this order: {part}"


def without_numbers(text: str) -> str:
    """Text without its scores, whose last digits differ between processors, and without spaces at the ends of lines."""
    return "\n".join(line.rstrip() for line in re.sub(r"-?\d+\.\d+", "0.0", text).splitlines())


def test_make_test_runs_pytest() -> None:
    assert commands_of("test") == ["python -m pytest -n 2 --dist worksteal"]


@pytest.mark.parametrize(
    "code",
    [pytest.param(code, marks=[pytest.mark.ci] if "export(" in code else []) for code in PYTHON if code not in OPTIMUM],
)
def test_the_python_runs(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    monkeypatch.chdir(home)
    exec(compile(code, "documents", "exec"), {})
    assert capsys.readouterr().out


def test_the_readme_is_read_in_two_minutes() -> None:
    assert README.stat().st_size <= 9_000


def test_every_link_between_the_documents_leads_somewhere() -> None:
    for name, text in DOCUMENTS.items():
        folder = ROOT if name == "README.md" else ROOT / "docs"
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (folder / target).is_file(), f"{name} links to {target}"


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    pages = set(
        re.findall(r"^  - ([\w.-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    assert pages == DOCUMENTS.keys() - {"README.md"}


def test_the_drawing_of_the_rooms_shows_todays_imports() -> None:
    assert PICTURE.read_text(encoding="utf-8") == draw(), "python -m scripts.draw_rooms draws it again"
