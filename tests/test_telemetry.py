"""Nothing is reported to anyone: every import of a library that reports is silenced, and commands leave no traces.

Each command and each engine runs in a process with an empty HOME, without any variable that silences a library. No
file but the project's own may appear there, and no connection may be opened, which strace shows.
"""

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Barrier, Thread

import pytest

from dpr_export.models import telemetry
from dpr_export.models.telemetry import SILENCED, no_telemetry

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
OWN_FILES = re.compile(r"\.cache/dpr-export/.*")
PASSED_ON = ("PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV")
CONNECT = re.compile(r'connect\(.*htons\((\d+)\).*?(?:inet_addr\("|AF_INET6, ")([^"]+)"')
DNS = 53

Watch = Callable[..., tuple[list[str], list[str]]]


def unsilenced(source: str) -> Iterator[str]:
    """The imports of libraries that report, outside `with no_telemetry()`."""
    tree = ast.parse(source)
    silenced = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.With) and ast.unparse(node.items[0]) == "no_telemetry()"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("import_library", "import_module"):
            names = [str(argument.value) for argument in node.args if isinstance(argument, ast.Constant)]
        if id(node) not in silenced:
            yield from (name for name in names if name.split(".")[0] in SILENCED)


@pytest.mark.parametrize("folder", ["models", "runtime", "quantization", "exporter", "benchmarks", "scripts"])
def test_every_import_of_a_library_that_reports_is_silenced(folder: str) -> None:
    found = {path: list(unsilenced(path.read_text(encoding="utf-8"))) for path in (ROOT / folder).rglob("*.py")}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("line", ["import onnxruntime.quantization", "from nncf import x", "x = import_library('ray')"])
def test_a_planted_import_is_found(line: str) -> None:
    assert len(list(unsilenced(f"def later():\n    {line}"))) == 1
    assert list(unsilenced(f"with no_telemetry():\n    {line}")) == []


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    with no_telemetry():
        pass
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_openvinos_package_is_hidden_until_the_last_thread_has_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, telemetry._PACKAGE, raising=False)
    first_left = Barrier(2, timeout=60)
    seen = []

    def second() -> None:
        with no_telemetry():
            first_left.wait()  # both are within
            first_left.wait()  # the first is not any more
            seen.append(sys.modules.get(telemetry._PACKAGE, "importable"))

    thread = Thread(target=second)
    thread.start()
    with no_telemetry():
        first_left.wait()
    first_left.wait()
    thread.join()
    assert seen == [None]
    assert telemetry._PACKAGE not in sys.modules


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    """Run a command with an empty HOME; return the files that are there then, and the addresses it connected to.

    Without strace no addresses are seen; the files are.
    """

    def run(*command: object, **variables: str) -> tuple[list[str], list[str]]:
        home, log = tmp_path / "home", tmp_path / "strace.log"
        home.mkdir()
        log.touch()
        strace = ["strace", "-f", "-qq", "-e", "trace=connect", "-e", "signal=none", "-o", log]
        done = subprocess.run(
            [*(strace if shutil.which("strace") else ()), *map(str, command)],
            env={
                **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
                "HOME": str(home),
                **variables,
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        assert "[W:onnxruntime" not in done.stderr
        files = sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())
        addresses = {(address, int(port)) for port, address in CONNECT.findall(log.read_text(errors="replace"))}
        return files, sorted(f"{address}:{port}" for address, port in addresses if not is_here(address))

    return run


def is_here(address: str) -> bool:
    """Whether an address is one of this machine, to which a socket can be bound."""
    address = address.removeprefix("::ffff:")
    with suppress(OSError), socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as trial:
        trial.bind((address, 0))
        return True
    return False


LOAD = """
import sys
from dpr_export.runtime import DPRQuestionEncoder
with DPRQuestionEncoder.from_pretrained(sys.argv[1], backend=sys.argv[2]) as model:
    model.encode(["who wrote hamlet ?"] * 900)
"""


@pytest.mark.parametrize("backend", ["onnxruntime", pytest.param("openvino", marks=pytest.mark.ci)])
def test_an_engine_leaves_no_file_and_opens_no_connection(watch: Watch, tiny: dict[str, Path], backend: str) -> None:
    files, addresses = watch(sys.executable, "-c", LOAD, tiny["question"], backend)
    assert [file for file in files if not OWN_FILES.fullmatch(file)] == []
    assert addresses == []


@pytest.mark.ci
@pytest.mark.parametrize(
    ("module", "trace"),
    [("onnxruntime", r"\.cache/Microsoft/.*"), ("openvino", r"intel/.*"), ("nncf", r"intel/.*|\.cache/Microsoft/.*")],
)
def test_the_same_process_without_the_silence_leaves_files(watch: Watch, module: str, trace: str) -> None:
    """What the tests here look for does appear, or they could not fail."""
    files, addresses = watch(sys.executable, "-c", f"import {module}, time; time.sleep(1)")
    assert any(re.fullmatch(trace, file) for file in files)
    if module == "openvino" and shutil.which("strace"):
        assert addresses


PASSAGES = "".join(
    json.dumps({"id": str(number), "title": "play", "text": f"hamlet {number}"}) + "\n" for number in range(20)
)
SQUAD = {
    "data": [
        {
            "title": "play",
            "paragraphs": [
                {
                    "context": "hamlet is a play by shakespeare",
                    "qas": [
                        {
                            "id": "1",
                            "question": "who wrote hamlet ?",
                            "answers": [{"text": "shakespeare", "answer_start": 20}],
                        }
                    ],
                }
            ],
        }
    ]
}
ENCODERS = "--question-encoder QUESTION --context-encoder CONTEXT"
# The lines of an entry run one after another, in one folder.
COMMANDS = {
    "dpr-export": ["dpr-export CHECKPOINT -o out", "dpr-export out --precision int8 --calibration FEW --allow-loss"],
    "fp16": ["dpr-export CHECKPOINT -o out --precision fp16 --backend onnxruntime --backend tensorrt --allow-loss"],
    "inspect": ["dpr-runtime inspect READER"],
    "verify": ["dpr-runtime verify READER"],
    "pack": ["dpr-runtime pack READER -o packed"],
    "answer": ["dpr-runtime answer READER --question who --text hamlet"],
    "build": ["dpr-runtime build VARIANTS --precision fp16 --compute-capability 8.9"],
    "encode": ["dpr-runtime encode CONTEXT passages.jsonl vectors.npy"],
    "index": [
        "dpr-runtime encode CONTEXT passages.jsonl corpus",
        "dpr-runtime index corpus",
        "dpr-runtime search corpus/index --question-encoder QUESTION --question who",
        "dpr-runtime ask who --index corpus/index --question-encoder QUESTION --reader READER",
    ],
    "evaluate": [f"dpr-runtime evaluate squad.json --reader READER {ENCODERS}"],
}


@pytest.mark.ci
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_leaves_no_file_and_opens_no_connection(
    watch: Watch,
    tiny: dict[str, Path],
    tiny_variants: dict[str, Path],
    few: dict[str, Path],
    tmp_path: Path,
    name: str,
) -> None:
    (tmp_path / "passages.jsonl").write_text(PASSAGES)
    (tmp_path / "squad.json").write_text(json.dumps(SQUAD))
    paths = {kind.upper(): tiny[kind] for kind in ("question", "context", "reader")}
    paths |= {
        "CHECKPOINT": tiny["question"].with_name("question-checkpoint"),
        "VARIANTS": tiny_variants["reader"],
        "FEW": few["calibration"],
    }
    if name == "build":
        pytest.importorskip("tensorrt_rtx")
    lines = [" ".join(str(paths.get(word, word)) for word in line.split()) for line in COMMANDS[name]]
    files, addresses = watch("sh", "-ec", "\n".join(f"{BIN}/{line}" for line in lines))
    assert [file for file in files if not OWN_FILES.fullmatch(file)] == []
    assert addresses == []


@pytest.mark.ci
def test_ray_is_told_to_report_nothing(watch: Watch, tiny: dict[str, Path], tmp_path: Path) -> None:
    """Ray itself makes a token in HOME, by which its processes trust each other, and asks the machine's cloud for its
    name: these two addresses, and the name server. Its report would go to an address that is this test's own."""
    pytest.importorskip("ray")
    (tmp_path / "passages.jsonl").write_text(PASSAGES)
    command = "encode CONTEXT passages.jsonl out --ray local --workers 1 --threads 1".replace(
        "CONTEXT", str(tiny["context"])
    )
    files, addresses = watch(
        "sh",
        "-ec",
        f"{BIN}/dpr-runtime {command}",
        RAY_USAGE_STATS_REPORT_URL="http://192.0.2.77:9/",
        RAY_USAGE_STATS_REPORT_INTERVAL_S="1",
    )
    assert [file for file in files if not OWN_FILES.fullmatch(file)] in ([], [".ray/auth_token"])
    others = [address for address in addresses if not address.endswith(f":{DNS}")]
    assert set(others) <= {"169.254.169.254:80"}
