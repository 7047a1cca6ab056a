"""Throw made-up input at everything that reads input, for as long as one likes: `python -m tests.hostile.fuzz`.

A target makes a case from random numbers and checks it; hypothesis draws the numbers, so a case that fails is shrunk to
a small one before it is shown. Every round has a new seed, and a fault is shown once, by where it was raised. The exit
code is 1 if anything failed.
"""

import argparse
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

ROUND = 200  # examples between two looks at the clock
FRAMES = 6  # of a fault's traceback, the innermost


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to try to break.

    Attributes:
        name: what it is called on the command line.
        make: makes a case from random numbers alone; its repr is what is shown.
        check: raises if the case is handled wrongly.
    """

    name: str
    make: Callable[[Random], Any]
    check: Callable[[Any], None]


@dataclass(slots=True)
class Tally:
    """What came of a target: how many cases were tried, and a report of each fault by where it was raised."""

    examples: int
    faults: dict[str, str]


def fuzz(target: Target, seconds: float, first_seed: int) -> Tally:
    """Try cases of a target until the time is up, and a round of them at least."""
    end, tally, number = time.monotonic() + seconds, Tally(0, {}), first_seed
    while tally.examples == 0 or time.monotonic() < end:
        for where, report in _round(target, number, tally):
            tally.faults.setdefault(where, f"seed {number}: {report}")
        number += 1
    return tally


def _round(target: Target, number: int, tally: Tally) -> Iterator[tuple[str, str]]:
    """Yield where each fault of one round was raised, and its report."""

    @seed(number)
    @settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False).map(target.make))
    def run(case: Any) -> None:
        tally.examples += 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a warning is a fault, as it is in every test
            try:
                target.check(case)
            except Exception as error:
                if _place(error) not in tally.faults:  # of what is known already, there may be more behind it
                    raise

    try:
        run()
    except Exception as error:  # whatever it is, it is what was looked for
        for fault in error.exceptions if isinstance(error, ExceptionGroup) else [error]:
            yield _place(fault), "".join(traceback.format_exception(fault, limit=-FRAMES, chain=False))


def _place(error: BaseException) -> str:
    """The type of an error and the line that raised it, which is what makes it another fault."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"


def one_line(error: Exception, what: str = "") -> None:
    """Hold an error that was expected to what people should see: one line, which says something.

    Raises:
        AssertionError: it is empty, has several lines, or `what`, a pattern, is not in it.
    """
    message = str(error)
    if not message.strip() or "\n" in message.strip() or not re.search(what, message):
        raise AssertionError(f"{type(error).__name__} says {message!r}") from error


def every_target(root: Path, exported: Path) -> list[Target]:
    """The targets.

    Args:
        root: an empty folder to write to.
        exported: the exported folder of a tiny reader.
    """
    from tests.hostile.fuzz_files import file_targets
    from tests.hostile.fuzz_numbers import number_targets
    from tests.hostile.fuzz_texts import text_targets

    return [*text_targets(root), *file_targets(root, exported), *number_targets(root, exported)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", nargs="*", help="which to run; all of them if none is named")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long, shared out among the targets")
    parser.add_argument("--seed", type=int, help="where the rounds' seeds begin; the time of day if none is given")
    arguments = parser.parse_args()
    from dpr_export.exporter import export
    from tests.conftest import write_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        export(str(write_checkpoint(root / "checkpoint", "reader")), root / "reader")
        targets = every_target(root, root / "reader")
        wanted = [target for target in targets if not arguments.target or target.name in arguments.target]
        if not wanted:
            parser.error(f"the targets are {', '.join(target.name for target in targets)}")
        return _run(wanted, 60 * arguments.minutes / len(wanted), arguments.seed)


def _run(targets: list[Target], seconds: float, first_seed: int | None) -> int:
    faults = 0
    for target in targets:
        number = int(time.time()) if first_seed is None else first_seed
        tally = fuzz(target, seconds, number)
        for where, report in tally.faults.items():
            print(f"\n--- {target.name}: {where}\n{report}", flush=True)
        print(
            f"{target.name:12} {tally.examples:>9,} examples  {len(tally.faults)} faults  (from seed {number})",
            flush=True,
        )
        faults += len(tally.faults)
    return min(faults, 1)


if __name__ == "__main__":
    sys.exit(main())
