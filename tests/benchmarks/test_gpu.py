"""What the GPU's benchmark makes of its calls; the calls themselves are made where a GPU is."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import gpu
from benchmarks.gpu_contenders import COMPILED, EAGER, OURS, SDPA
from benchmarks.team import Team
from dpr_export.runtime.engines.nvidia.driver import gpu_problem

ROOT = Path(__file__).parent.parent.parent


def records(**ms: float) -> dict[str, Any]:
    names = {
        "eager": EAGER.name,
        "sdpa": SDPA.name,
        "compiled": COMPILED.name,
        "ours": OURS[0].name,
        "other": OURS[1].name,
    }
    return {names[name]: {"p50_ms": value, "p99_ms": value * 2, "cosine": 1.0} for name, value in ms.items()}


def results(question: dict[str, Any]) -> dict[str, Any]:
    about = {"gpu": "a GPU", "processor": "a processor", "quick": False}
    return {"about": about, "kinds": {"question": {"shapes": {"1x16": question}}}, "operations_per_second": 1e14}


@pytest.mark.parametrize(
    ("ms", "verdicts"),
    [
        ({"eager": 3.0, "compiled": 1.0, "ours": 0.5}, [True, True, True]),
        ({"eager": 3.0, "compiled": 1.0, "ours": 2.0, "other": 0.9}, [True, True, True]),
        ({"eager": 3.0, "compiled": 1.0, "ours": 1.1}, [False, False, False]),
        ({"eager": 3.0, "ours": 0.99}, [True, True]),
        ({"eager": 2.0, "compiled": 0.5, "ours": 0.9}, [True, False, False]),
        ({"eager": 3.0, "compiled": 1.0}, []),
    ],
)
def test_what_was_aimed_at_is_judged_by_the_fastest_of_ours(ms: dict[str, float], verdicts: list[bool]) -> None:
    found = results(records(**ms))
    assert [kept for _, kept in gpu.aims(found["kinds"])] == verdicts


def test_a_table_shows_every_contender_and_why_one_has_no_times() -> None:
    question = records(eager=3.0, ours=0.5) | {OURS[1].name: {"reason": "no engine", "cosine": None}}
    console = Console(file=io.StringIO(), width=120)
    gpu.show(results(question), console)
    shown = console.file.getvalue()
    assert f"- {OURS[1].name}: no engine" in shown
    row = next(line for line in shown.splitlines() if line.startswith(OURS[0].name))
    assert row.split()[-5:-1] == ["0.500", "1.000", "6.00", "1.0000"]
    assert row.split()[-1] == f"{gpu.operations('question', 1, 16) / 0.5e-3 / 1e14:.0%}"


def test_percentiles_are_of_all_calls_of_all_rounds() -> None:
    team = Team(reasons={"gone": "it ended"})
    asked: list[tuple[str, int]] = []

    class Answering:
        def __init__(self, name: str) -> None:
            self.name = name

        def ask(self, verb: str, calls: int) -> dict[str, list[float]]:
            assert verb == "times"
            asked.append((self.name, calls))
            return {"seconds": [0.001 * (1 + len(asked))] * calls}

    team.workers = {name: Answering(name) for name in ("one", "two")}  # type: ignore[dict-item]
    found = gpu.calls_of(team, ["one", "two", "gone"], rounds=3, calls=2)
    assert found["gone"] == {"reason": "it ended"}
    assert [name for name, _ in asked] == ["one", "two", "two", "one", "one", "two"]
    assert found["one"]["p50_ms"] == pytest.approx(5.0)
    assert found["two"]["p99_ms"] == pytest.approx(7.0, abs=0.3)


@pytest.mark.skipif(gpu_problem(0) is None, reason="there is a GPU here")
def test_without_a_gpu_the_benchmark_says_so_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == f"benchmarks.gpu: cuda cannot be used: {gpu_problem(0)}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "tpu"], "device is 'tpu', and must be one of"),
        (["--device", "cpu"], "--device cpu shows that the benchmark works, with --quick alone"),
        (["--quick", "--save"], "--save keeps measurements, and --quick makes none"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks.gpu", *arguments])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
