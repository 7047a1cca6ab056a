"""Speed on CPUs, beside everything a user would pick instead: python -m benchmarks.cpu

Contenders run in processes of their own and take turns, so that ratios hold on a machine that is not quite at rest;
medians are compared. The models are of base size with random weights, which cost as much to run as trained ones.
The first run makes the models and the peer's environment in the working folder, and later runs use them again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.bars import bars
from benchmarks.contenders import OURS
from benchmarks.making import made
from benchmarks.parts import FULL, PARTS, QUICK
from benchmarks.place import BASE, TINY, Place
from benchmarks.results import about, earlier, write
from benchmarks.tables import show
from benchmarks.workers import ROOT, WorkerError
from dpr_export.models.kinds import KINDS
from dpr_export.runtime.engines.processors import usable_processors

LIMITS = "limits"
BY_KIND = ("model-calls", LIMITS)
LIMITED_KINDS = ("question", "reader")
SAVED = Path(__file__).parent / "results" / "cpu.json"


def main() -> None:
    given = _arguments()
    place = Place(given.work, TINY if given.quick else BASE, given.peer_env or given.work / "peer")
    plan = QUICK if given.quick else FULL
    if given.rounds:
        plan = replace(plan, rounds=dict.fromkeys(plan.rounds, given.rounds))
    threads = usable_processors()
    results: dict[str, Any] = {"about": about(given.quick, threads)}
    parts, kinds = given.only or [*PARTS, LIMITS], given.kind or [*KINDS]
    files = [path for path in (given.json, SAVED if given.save else None) if path]
    for path in files:
        earlier(results["about"], path)  # which would fail after all the work otherwise
    progress = Console(stderr=True)
    with progress.status("start") as status:

        def say(text: str) -> None:
            status.update(text) if progress.is_terminal else progress.print(text, highlight=False)

        for part in PARTS:
            if part in parts:
                results[part] = PARTS[part](place, replace(plan, kinds=kinds), threads, say)
        if LIMITS in parts:
            say("limits")
            results[LIMITS] = {kind: limits(place, kind, threads) for kind in LIMITED_KINDS if kind in kinds}
    found = bars(results)
    for path in files:
        save(results, path)
    console = Console()
    show(results, found, console if console.is_terminal else Console(width=100))


def save(results: dict[str, Any], path: Path) -> None:
    """Write results into a file, beside the parts and kinds of earlier runs that it holds; all on one machine.

    Raises:
        ValueError: as `earlier`.
    """
    held = earlier(results["about"], path)
    merged = {name: {**held.get(name, {}), **part} if name in BY_KIND else part for name, part in results.items()}
    merged = {**held, **merged}
    merged["about"]["load"] = max(one["about"]["load"] for one in (held or results, results))
    merged["bars"] = [{**asdict(bar), "kept": bar.kept} for bar in bars(merged)]
    write(merged, path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu", description=(__doc__ or "").partition("\n")[0])
    default = Path(tempfile.gettempdir(), "dpr-export-bench")
    parser.add_argument("--work", type=Path, default=default, help=f"working folder ({default})")
    parser.add_argument("--only", action="append", choices=[*PARTS, LIMITS], help="a part to run (all); repeatable")
    parser.add_argument(
        "--kind", action="append", choices=[*KINDS], help="of the model calls and limits (all); repeatable"
    )
    parser.add_argument("--rounds", type=int, help="timed calls of each contender per shape (15 down to 5, by shape)")
    parser.add_argument(
        "--quick", action="store_true", help="tiny models and few rounds: whether it works, not how fast"
    )
    parser.add_argument(
        "--peer-env", type=Path, help="a virtual environment that has the peer (made in the work folder)"
    )
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--save", action="store_true", help=f"write them into {SAVED.relative_to(ROOT)}")
    given = parser.parse_args()
    if given.rounds is not None and given.rounds < 1:
        parser.error(f"--rounds is {given.rounds}, and must be at least 1")
    if given.save and given.quick:
        parser.error("--save keeps measurements, and --quick makes none")
    given.work = given.work.resolve()
    given.peer_env = given.peer_env and given.peer_env.resolve()
    return given


def limits(place: Place, kind: str, threads: int) -> dict[str, Any]:
    """What benchmarks/limits.py measures, in a process of its own; or the reason that it measured nothing."""
    try:
        folders = [made(place, kind, what) for what in OURS.needs]
    except WorkerError as error:
        return {"reason": str(error)}
    command = [sys.executable, "-m", "benchmarks.limits", kind, str(folders[-1]), str(threads)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **place.variables}
    with place.log(f"limits {kind}").open("w", encoding="utf-8") as log:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, env=environment, cwd=place.work, text=True)
    if done.returncode:
        return {"reason": f"see {place.log(f'limits {kind}')}"}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
