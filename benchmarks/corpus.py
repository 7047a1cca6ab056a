"""From passages to answers, side by side: python -m benchmarks.corpus DATA.json

DATA is SQuAD's format (XQuAD's English is a good one). Passages are cut from its articles, and encoded by
`encode_corpus`, alone and on Ray, and by what the first DPR code does with transformers: batches of 512, each padded to
256 tokens. Since its time does not depend on what the passages hold, it is given a part of them; ours does, so there
are passages that end with their paragraph, and passages of 100 words throughout.

Then the questions are answered from the paragraphs, by `evaluate` and by the same pipeline in transformers: encode,
inner products, the reader over the best passages, decode_best_spans.

Each contender is a process of its own, so that each peak of memory is its own, and transformers has its turn before
each of ours: its median counts. Models are the demo's.
"""

import csv
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from statistics import median_low
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from benchmarks.corpus_jobs import (
    BATCH,
    answer_ours,
    answer_transformers,
    encode_ours,
    encode_transformers,
    make_models,
)
from benchmarks.results import about, write
from benchmarks.workers import ROOT
from dpr_export.runtime.engines.processors import usable_processors

VARIANTS = ("int8", "fp32")
WORDS, LEAST = 100, 10  # of a passage
FIRST_CODE = "transformers, as the first code"


def write_passages(data: Path, count: int, whole: bool, path: Path) -> None:
    """Cut passages of 100 words, as DPR does: from the start of any word to the end of its paragraph, which leaves many
    shorter; or `whole`, on into the next paragraphs."""
    articles = json.loads(data.read_text(encoding="utf-8"))["data"]
    texts = [(a["title"].replace("_", " "), [p["context"].split() for p in a["paragraphs"]]) for a in articles]
    if whole:
        texts = [(title, [list(chain(*paragraphs))]) for title, paragraphs in texts]
    draw = random.Random(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("id", "text", "title"))
        for number in range(1, count + 1):
            title, paragraphs = draw.choice(texts)
            words = draw.choice(paragraphs)
            start = draw.randrange(max(1, len(words) - (WORDS if whole else LEAST)))
            writer.writerow((number, " ".join(words[start : start + WORDS]), title))


def write_questions(data: Path, count: int, path: Path) -> None:
    """Keep so many questions, from all over the file, and every paragraph."""
    value = json.loads(data.read_text(encoding="utf-8"))
    paragraphs = [paragraph for article in value["data"] for paragraph in article["paragraphs"]]
    total, number = sum(len(paragraph["qas"]) for paragraph in paragraphs), 0
    for paragraph in paragraphs:
        kept = []
        for question in paragraph["qas"]:
            number += 1
            if number * count // total > (number - 1) * count // total:
                kept.append(question)
        paragraph["qas"] = kept
    path.write_text(json.dumps(value), encoding="utf-8")


def in_process(job: Callable[..., Any], *arguments: object) -> dict[str, Any]:
    """What a job gives in a process of its own, with its peak of memory in MB."""
    command = [sys.executable, "-m", "benchmarks.corpus_jobs", job.__name__, *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            assert process.stderr is not None
            raise RuntimeError(process.stderr.read().strip().splitlines()[-1])
    per_unit = 1 if sys.platform == "darwin" else 1024
    result: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return {**result, "peak MB": usage.ru_maxrss * per_unit / 1e6}


def encoding(work: Path, data: Path, sizes: Sequence[int], part: int) -> dict[str, Any]:
    """What each contender took, its memory, and where ours spends its time."""
    small, large = sizes
    corpora = {"varied": (large, False), "varied, few": (small, False), "100 words": (small, True)}
    for name, (count, whole) in corpora.items():
        write_passages(data, count, whole, work / f"{name}.tsv")
    runs: dict[str, tuple[Any, ...]] = {
        f"{precision}, {name}": (precision, work / f"{name}.tsv", work / f"{precision} {name}")
        for precision in VARIANTS
        for name in corpora
    }
    threads = usable_processors()
    for workers, each in ((1, threads), (threads, 1)):
        out = work / f"ray {workers}"
        runs[f"int8, varied, Ray {workers} x {each}"] = ("int8", work / "varied.tsv", out, workers, each)
    theirs: list[dict[str, Any]] = []
    results: dict[str, Any] = {}
    for name, run in runs.items():
        theirs.append(in_process(encode_transformers, work, work / "varied.tsv", part))
        results[name] = in_process(encode_ours, work, *run)
    seconds = median_low(each["seconds"] for each in theirs)
    return {FIRST_CODE: next(each for each in theirs if each["seconds"] == seconds), **results}


def show(console: Console, results: dict[str, Any]) -> None:
    """Print what was measured."""
    stages = ("reading", "tokenizing", "computing", "writing")
    table = Table(
        "encode", *(Column(name, justify="right") for name in ("passages", "a second", "", *stages, "peak MB"))
    )
    rates = {name: each["passages"] / each["seconds"] for name, each in results["encoding"].items()}
    for name, each in results["encoding"].items():
        shares = (f"{each['busy'][stage]:.1%}" if each["busy"].get(stage) else "" for stage in stages)
        ratio = f"{rates[name] / rates[FIRST_CODE]:.1f}x"
        table.add_row(name, f"{each['passages']:,}", f"{rates[name]:,.1f}", ratio, *shares, f"{each['peak MB']:,.0f}")
    console.print(table)
    parts = ("questions", "top-1", "top-5", "top-20", "exact match", "F1", "encode", "search", "read, ms")
    table = Table("answer", *(Column(name, justify="right") for name in parts))
    for name, each in results["answering"].items():
        right = (*(each["top"][k] for k in ("1", "5", "20")), each["exact match"], each["F1"])
        shares = (f"{100 * share:.1f}" for share in right)
        table.add_row(name, str(each["questions"]), *shares, *(f"{ms:,.1f}" for ms in each["milliseconds"].values()))
    console.print(table)


def main(
    data: Annotated[Path, typer.Argument(help="Questions, SQuAD's format.", exists=True)],
    passages: Annotated[int, typer.Option(min=100, help="How many passages to encode.")] = 20_000,
    quick: Annotated[bool, typer.Option("--quick", help="A few passages and questions: to see that it runs.")] = False,
    save: Annotated[Path | None, typer.Option(help="A file for the metrics, JSON.")] = None,
) -> None:
    """Encode, search, read: ours against transformers."""
    sizes, part, few = ((40, 80), 16, 4) if quick else ((2_000, passages), 2 * BATCH, 60)
    console = Console(width=120)
    with TemporaryDirectory(prefix="dpr-export-corpus-") as folder:
        work = Path(folder)
        in_process(make_models, work)
        results: dict[str, Any] = {"about": about(quick, usable_processors())}
        results["encoding"] = encoding(work, data, sizes, part)
        write_questions(data, few, work / "few.json")
        contenders: dict[str, tuple[Any, ...]] = {
            **{f"ours {precision}": (answer_ours, work, precision, work / "few.json") for precision in VARIANTS},
            "transformers": (answer_transformers, work, work / "few.json"),
        }
        if not quick:
            whole = data.resolve()
            contenders |= {f"ours {precision}, all": (answer_ours, work, precision, whole) for precision in VARIANTS}
        results["answering"] = {name: in_process(*job) for name, job in contenders.items()}
    show(console, results)
    if save is not None:
        write(results, save)


if __name__ == "__main__":
    typer.run(main)
