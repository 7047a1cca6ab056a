"""What the GPU's benchmark makes of its calls; the calls themselves are made where a GPU is."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import gpu
from benchmarks.harness.command import make_parser, start
from benchmarks.harness.contenders import GPU_EAGER, GPU_OURS
from benchmarks.harness.limits import multiply_adds
from benchmarks.harness.worker_group import WorkerGroup
from dpr_export.models.config import DPRConfig
from dpr_export.runtime.engines.nvidia.driver import gpu_problem

ROOT = Path(__file__).parent.parent.parent


def make_run(question: dict[str, Any]) -> dict[str, Any]:
    about = {"gpu": "a GPU", "processor": "a processor", "quick": False, "date": "2026-01-01", "versions": {}}
    return {"about": about, "kinds": {"question": {"shapes": {"1x16": question}}}, "operations_per_second": 1e14}


def test_a_table_shows_every_contender_and_why_one_has_no_times() -> None:
    question: dict[str, Any] = {
        name: {"p50_ms": ms, "p99_ms": ms * 2, "cosine": 1.0}
        for name, ms in ((GPU_EAGER.name, 3.0), (GPU_OURS[0].name, 0.5))
    }
    question[GPU_OURS[1].name] = {"reason": "no engine", "cosine": None}
    console = Console(file=io.StringIO(), width=120)
    gpu.show({"runs": [make_run(question)]}, console)
    shown = console.file.getvalue()
    assert f"- {GPU_OURS[1].name}: no engine" in shown
    row = next(line for line in shown.splitlines() if line.startswith(GPU_OURS[0].name))
    assert row.split()[-5:-1] == ["0.500", "1.000", "6.00", "1.0000"]
    operations = 2 * multiply_adds(DPRConfig(), "question", 1, 16)
    assert row.split()[-1] == f"{operations / 0.5e-3 / 1e14:.0%}"


def test_the_saved_runs_can_be_shown_and_a_run_joins_them(capsys: pytest.CaptureFixture[str]) -> None:
    saved = json.loads((ROOT / "benchmarks" / "results" / "gpu.json").read_text())
    gpu.show(saved, Console(width=120))
    assert "NVIDIA H200" in capsys.readouterr().out
    assert gpu.add_run(saved, make_run({}))["runs"] == [*saved["runs"], make_run({})]


def test_percentiles_are_of_all_calls_of_all_rounds() -> None:
    seconds = {"one": [0.001 * number for number in range(1, 102)], "gone": []}
    found = WorkerGroup(reasons={"gone": "it ended"}).as_records(seconds, gpu.percentiles)
    assert found["gone"] == {"reason": "it ended"}
    assert found["one"] == {"p50_ms": pytest.approx(51.0), "p99_ms": pytest.approx(100.0)}


def test_no_model_is_loaded_once_the_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "load_group", None)
    parser = make_parser("gpu", "Measure.", "tiny models")
    run = start(parser, parser.parse_args(["--work", str(tmp_path)]), "a minute", seconds=1e-9)
    gpu.measure(run, GPU_OURS, ["question", "reader"])
    assert "kinds" not in run.results


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
        (["--device", "cpu"], "--device cpu shows that the benchmark works, and needs --quick"),
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
