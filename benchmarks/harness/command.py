"""What every benchmark command does: read its options, say how long it takes, and keep each result when it is measured.

Parts of a benchmark may run one at a time: their results join those of earlier runs in the file, which must be of the
same machine and versions. Whether this project's own code changed meanwhile is for the person who saves them to know.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.harness.model_files import BASE, TINY, Size, WorkFolder, make
from benchmarks.harness.tables import Results
from benchmarks.harness.workers import ROOT, WorkerError
from dpr_export.runtime.engines.processors import usable_processors

RESULTS_FOLDER = ROOT / "benchmarks" / "results"
MERGED_LEVELS = 3  # of nested dictionaries: part, kind of model, table; a table is of one run
_PACKAGES = "dpr-export torch transformers onnxruntime openvino nncf ctranslate2 numpy onnxruntime-gpu tensorrt".split()


@dataclass(slots=True)
class Run:
    """One run of a benchmark command."""

    work: WorkFolder  # with the size of the models
    quick: bool  # whether this run only shows that the benchmark works
    threads: int  # that every contender has
    seconds: float | None  # that the run may take, without the time to make models; None: as long as it needs
    results: Results  # what was measured so far
    files: dict[Path, Results]  # the files to write, and the earlier results that each holds
    combine: Callable[[Results, Results], Results]
    console: Console
    _progress: Console = field(default_factory=lambda: Console(stderr=True, soft_wrap=True))
    _start: float = field(default_factory=time.monotonic)
    _excluded: float = 0.0
    _failures: dict[tuple[str, str], Exception] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """Print what happens now, to standard error."""
        self._progress.print(text, style="dim", markup=False, highlight=False)

    def keep(self, value: Any, *keys: str, line: str = "") -> None:
        """Put a result under nested keys, write the files, and print a line about it."""
        place = self.results
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = value
        for path, held in self.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.combine(held, self.results), indent=1)
            path.write_text(text + "\n", encoding="utf-8")
        if line:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @property
    def is_over(self) -> bool:
        """Whether the time of the run has passed."""
        return self.seconds is not None and time.monotonic() - self._start - self._excluded > self.seconds

    def make_model(self, kind: str, *needs: str) -> Path:
        """Make what is missing of some models; return the folder of the last. That does not count as the run's time.

        Raises:
            WorkerError, OSError: as `model_files.make`; a model that failed is not tried again.
        """
        start = time.monotonic()
        try:
            for what in needs:
                if (kind, what) in self._failures:
                    raise self._failures[kind, what]
                try:
                    folder = make(self.work, kind, what, self.say)
                except (WorkerError, OSError) as error:
                    self._failures[kind, what] = error
                    raise
        finally:
            self._excluded += time.monotonic() - start
        return folder


def make_parser(name: str, description: str | None, quick: str, *, saves: bool = True) -> argparse.ArgumentParser:
    """A parser with the options that all commands have.

    Args:
        name: of the module in benchmarks/.
        description: its docstring; the help shows the first line.
        quick: what --quick does.
        saves: whether the project keeps the command's results.
    """
    summary = (description or "").partition("\n")[0].partition(": python -m")[0]
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=summary)
    default = Path(tempfile.gettempdir(), "dpr-export-bench")
    parser.add_argument("--work", type=Path, default=default, help=f"working folder ({default}), kept for later runs")
    parser.add_argument("--quick", action="store_true", help=f"{quick}: shows that it works, not how fast anything is")
    parser.add_argument("--json", type=Path, help="write the results to this file, after each measurement")
    if saves:
        parser.add_argument("--save", action="store_true", help=f"write the results to benchmarks/results/{name}.json")
        parser.add_argument("--show", action="store_true", help="only print the results in that file")
    parser.set_defaults(name=name, save=False, show=False)
    return parser


def start(
    parser: argparse.ArgumentParser,
    given: argparse.Namespace,
    takes: str,
    show: Callable[[Results, Console], None] | None = None,
    *,
    size: Size | None = None,
    combine: Callable[[Results, Results], Results] | None = None,
    seconds: float | None = None,
) -> Run:
    """Begin a run, after checking the options of `make_parser`; with --show, print the saved results and exit.

    Args:
        parser: of `make_parser`.
        given: what it parsed.
        takes: how long the run takes, in words.
        show: prints results; None: the command prints only a line for each.
        size: of the models; None: BERT-base, or tiny with --quick.
        combine: puts the results beside those that a file holds; it raises a ValueError if they do not fit.
        seconds: how long the run may take.
    """
    saved, console = RESULTS_FOLDER / f"{given.name}.json", Console()
    console = console if console.is_terminal else Console(width=110)
    if show and given.show:
        show(json.loads(saved.read_text(encoding="utf-8")), console)
        sys.exit()
    if given.save and given.quick:
        parser.error("--save keeps measurements, and --quick makes none")
    work = WorkFolder(given.work.resolve(), size or (TINY if given.quick else BASE))
    combine, results = combine or merge, {"about": describe_machine(given.quick, usable_processors())}
    paths = [path for path in (given.json, saved if given.save else None) if path]
    files = {path: json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {} for path in paths}
    for path, held in files.items():
        try:
            combine(held, results)  # fails now rather than after all the work
        except ValueError as error:
            parser.error(f"{path} {error}")
    run = Run(work, given.quick, usable_processors(), seconds, results, files, combine, console)
    run.say(f"{parser.prog}: {'a minute or two' if given.quick else takes}; models are kept in {work.path}")
    return run


def merge(held: Results, results: Results) -> Results:
    """Put results beside those of earlier runs on the same machine.

    Raises:
        ValueError: the earlier ones are of another machine or of other versions.
    """
    if not held:
        return results
    same = ("processor", "threads", "versions", "quick")
    if any(held["about"][name] != results["about"][name] for name in same):
        raise ValueError("is of another machine, or of other versions: remove it first")
    load = max(each["about"]["load"] for each in (held, results))
    merged: Results = _merge_levels(held, results, MERGED_LEVELS)
    merged["about"]["load"] = load
    return merged


def _merge_levels(held: Any, results: Any, levels: int) -> Any:
    """
    >>> _merge_levels({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}}, 2)
    {'a': {'b': 4, 'c': 2}, 'd': 3}
    """
    if not (levels and isinstance(held, dict) and isinstance(results, dict)):
        return results
    return held | {key: _merge_levels(held.get(key), value, levels - 1) for key, value in results.items()}


def describe_machine(quick: bool, threads: int) -> Results:
    """The machine, the versions and the time."""
    versions = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "threads": threads,
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
        "quick": quick,
    }


def _processor() -> str:
    """The processor's name, family and model: some names are shared by several generations."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if "model name" not in values:
        return platform.machine()
    return f"{values['model name']} (family {values.get('cpu family')}, model {values.get('model')})"
