"""Encode a corpus and answer questions from it, next to transformers: python -m benchmarks.corpus DATA.json

DATA is in SQuAD's format (XQuAD's English is a good one). Passages are cut from its articles. transformers encodes them
as facebookresearch/DPR does, in time that does not depend on the passages, so it encodes a part of them; ours does, so
there are passages that end with their paragraph, and passages of 100 words throughout. transformers encodes before each
of ours, and its median counts. Then the questions are answered from the paragraphs. Models are the demo's.
"""

import csv
import itertools
import json
import random
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.markup import escape

from benchmarks.corpus_jobs import BATCH, answer_ours, answer_transformers, encode_ours, encode_transformers
from benchmarks.harness.command import Run, make_parser, start
from benchmarks.harness.model_files import DEMO
from benchmarks.harness.processes import run_measured
from benchmarks.harness.tables import Results, show_machine, show_table
from dpr_export.models.kinds import KINDS
from dpr_export.runtime.corpus import Passage
from dpr_export.runtime.corpus.squad import read_squad

VARIANTS = ("int8", "fp32")
WORDS, LEAST_WORDS = 100, 10  # of a passage
TRANSFORMERS = "transformers, as facebookresearch/DPR"


def write_passages(data: Path, count: int, full: bool, path: Path) -> None:
    """Cut passages of 100 words, as DPR does: from any word to the end of its paragraph, which leaves many shorter; or
    `full`, on into the next paragraphs of the article."""
    squad, articles = read_squad(data), defaultdict[int, list[Passage]](list)
    for passage, article in zip(squad.passages, squad.articles, strict=True):
        articles[article].append(passage)
    texts = [(each[0].title, [passage.text.split() for passage in each]) for each in articles.values()]
    if full:
        texts = [(title, [list(itertools.chain(*paragraphs))]) for title, paragraphs in texts]
    draw = random.Random(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("id", "text", "title"))
        for number in range(1, count + 1):
            title, paragraphs = draw.choice(texts)
            words = draw.choice(paragraphs)
            start = draw.randrange(max(1, len(words) - (WORDS if full else LEAST_WORDS)))
            writer.writerow((number, " ".join(words[start : start + WORDS]), title))


def write_questions(data: Path, count: int, path: Path) -> None:
    """Keep so many questions, from all over the file, and every paragraph."""
    value = json.loads(data.read_text(encoding="utf-8"))
    paragraphs = [paragraph for article in value["data"] for paragraph in article["paragraphs"]]
    total, numbers = sum(len(paragraph["qas"]) for paragraph in paragraphs), itertools.count()
    for paragraph in paragraphs:
        numbered = zip(paragraph["qas"], numbers, strict=False)
        paragraph["qas"] = [each for each, n in numbered if (n + 1) * count // total > n * count // total]
    path.write_text(json.dumps(value), encoding="utf-8")


def run_job(run: Run, job: Callable[..., Any], *arguments: object) -> dict[str, Any]:
    """Run a job in a process of its own; return what it measured, and its peak of memory."""
    command = (sys.executable, "-m", "benchmarks.corpus_jobs", job.__name__, run.work.models, *arguments)
    measured = run_measured(command)
    return {**json.loads(measured.output.splitlines()[-1]), "peak MB": measured.peak_bytes / 1e6}


def measure_encoding(run: Run, data: Path, folder: Path, counts: tuple[int, int], part: int) -> None:
    """Measure the time and memory of each contender, and where ours spends its time."""
    small, large = counts
    corpora = {"varied": (large, False), "varied, few": (small, False), "100 words": (small, True)}
    runs: dict[str, tuple[Any, ...]] = {}
    for name, (count, full) in corpora.items():
        write_passages(data, count, full, folder / f"{name}.tsv")
        for precision in VARIANTS:
            runs[f"{precision}, {name}"] = (precision, folder / f"{name}.tsv", folder / f"{precision} {name}")
    for workers, threads in ((1, run.threads), (run.threads, 1)):
        ray = (folder / f"ray {workers}", workers, threads)
        runs[f"int8, varied, Ray {workers} x {threads}"] = ("int8", folder / "varied.tsv", *ray)
    theirs: list[dict[str, Any]] = []
    for name, arguments in runs.items():
        run.say(f"encode: {name}")
        theirs.append(run_job(run, encode_transformers, folder / "varied.tsv", part))
        theirs.sort(key=lambda each: each["seconds"])
        run.keep(theirs[(len(theirs) - 1) // 2], "encoding", TRANSFORMERS)
        ours = run_job(run, encode_ours, *arguments)
        run.keep(ours, "encoding", name, line=f"encode, {name}: {ours['passages'] / ours['seconds']:,.1f} a second")


def show(results: Results, console: Console) -> None:
    """Print a table of encoding and a table of answering."""
    show_machine(results["about"], console)
    stages = ("reading", "tokenizing", "computing", "writing")
    rates = {name: each["passages"] / each["seconds"] for name, each in results["encoding"].items()}
    slowest = next(iter(rates.values()))  # transformers', which is kept first
    rows = []
    for name, each in results["encoding"].items():
        shares = (f"{each['busy'][stage]:.1%}" if each["busy"].get(stage) else "" for stage in stages)
        cells = (f"{each['passages']:,}", f"{rates[name]:,.1f}", f"{rates[name] / slowest:.1f}x")
        rows.append([escape(name), *cells, *shares, f"{each['peak MB']:,.0f}"])
    show_table(console, "Encode", ("", "passages", "a second", "ratio", *stages, "peak MB"), rows)
    rows = []
    for name, each in results["answering"].items():
        right = (*(each["top"][k] for k in ("1", "5", "20")), each["exact match"], each["F1"])
        shares = (f"{100 * share:.1f}" for share in right)
        rows.append([name, str(each["questions"]), *shares, *(f"{ms:,.1f}" for ms in each["milliseconds"].values())])
    columns = ("", "questions", "top-1", "top-5", "top-20", "exact match", "F1", "encode", "search", "read, ms")
    show_table(console, "Answer", columns, rows)


def main() -> None:
    parser = make_parser("corpus", __doc__, "a few passages and questions")
    parser.add_argument("data", type=Path, help="questions, in SQuAD's format", nargs="?")
    parser.add_argument("--passages", type=int, default=20_000, help="how many passages to encode (20,000)")
    given = parser.parse_args()
    if not given.show and (given.data is None or not given.data.is_file()):
        parser.error(f"data is {given.data}, and must be a file")
    run = start(parser, given, "20 to 30 minutes", show, size=DEMO)
    for kind in KINDS:
        run.make_model(kind, "checkpoint", "exported")
    data, few = given.data.resolve(), 4 if run.quick else 60
    counts, part = ((40, 80), 16) if run.quick else ((2_000, given.passages), 2 * BATCH)
    with TemporaryDirectory(prefix="dpr-export-corpus-") as name:
        folder = Path(name)
        measure_encoding(run, data, folder, counts, part)
        write_questions(data, few, path := folder / "few.json")
        jobs: dict[str, tuple[Any, ...]] = {f"ours {each}": (answer_ours, each, path) for each in VARIANTS}
        jobs["transformers"] = (answer_transformers, path)
        if not run.quick:
            jobs |= {f"ours {precision}, all": (answer_ours, precision, data) for precision in VARIANTS}
        for contender, job in jobs.items():
            run.say(f"answer: {contender}")
            found = run_job(run, *job)
            run.keep(found, "answering", contender, line=f"answer, {contender}: {found['milliseconds']}")
    show(run.results, run.console)


if __name__ == "__main__":
    main()
