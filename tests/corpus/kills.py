"""Kill a job that encodes a corpus, again and again, and go on with it until it is done: also a program of its own.

    python -m tests.corpus.kills MODEL PASSAGES --kills 20 --seed 0

MODEL is an exported context encoder. Prints how many shards were there after each kill, and whether the folder is the
one of a job that ran through, byte for byte.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from dpr_export.runtime.corpus.encoding.shards import shard_numbers
from tests.corpus.conftest import contents

_START = 2.0  # seconds in which a job begins or goes on
DPR_RUNTIME = Path(sys.executable).with_name("dpr-runtime")
OFFLINE = {**os.environ, "HF_HUB_OFFLINE": "1"}


def command(model: Path, corpus: Path, out: Path, *more: str) -> list[str]:
    """Encode in small shards."""
    options = ["--shard-size", "8", "--backend", "onnxruntime", "--threads", "1", *more]
    return [str(DPR_RUNTIME), "encode", str(model), str(corpus), str(out), *options]


def kill_and_resume(model: Path, file: Path, out: Path, kills: int, seed: object, *more: str) -> list[int]:
    """Kill a job so many times, each time after a few more shards, and let it end; the shards there after each kill.

    Raises:
        RuntimeError: it ended by itself, in an error or before it was killed so many times.
    """
    draw, found = random.Random(str(seed)), list[int]()
    for turn in range(kills + 1):
        run = command(model, file, out, *more, *(("--resume",) if out.exists() else ()))
        process = subprocess.Popen(run, env=OFFLINE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if turn < kills:
            before = len(shard_numbers(out)) if out.exists() else 0
            wanted, start = before + draw.randint(1, 2), time.monotonic()
            longest = draw.choice((60.0, draw.uniform(0, _START)))  # of two kills, one falls while a job begins
            while process.poll() is None and time.monotonic() - start < longest:
                if out.exists() and len(shard_numbers(out)) >= wanted:
                    break
                time.sleep(0.002)
            time.sleep(draw.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        said, _ = process.communicate()
        if process.returncode != (-signal.SIGKILL if turn < kills else 0):
            raise RuntimeError(f"turn {turn} ended with {process.returncode}: {said.decode()}")
        found.append(len(shard_numbers(out)) if out.exists() else 0)
    return found[:-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("passages", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given, more = parser.parse_known_args()
    with TemporaryDirectory() as folder:
        whole, killed = Path(folder, "whole"), Path(folder, "killed")
        subprocess.run(command(given.model, given.passages, whole, *more), check=True, env=OFFLINE)
        print(
            "shards after each kill:",
            kill_and_resume(given.model, given.passages, killed, given.kills, given.seed, *more),
        )
        print("the same bytes:", contents(killed) == contents(whole), f"({len(contents(whole)):,} files)")


if __name__ == "__main__":
    main()
