"""From passages to answers, side by side: python -m benchmarks.corpus DATA.json

DATA is SQuAD's format (XQuAD's English is a good one). Passages of varied lengths are cut from its paragraphs, and
encoded by `encode_corpus` and by what the first DPR code does with transformers: batches of 512, each padded to 256
tokens, computed on a part, and scaled. Then its questions are answered from its paragraphs, by `evaluate` and by the
same pipeline in transformers: encode, inner products, the reader over the best passages, decode_best_spans.

Each contender is a process of its own, in turns, and the medians count; so each peak of memory is its own. Models are
the demo's.
"""

import csv
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.results import about
from benchmarks.workers import ROOT

KINDS = ("question", "context", "reader")
BATCH, LENGTH = 512, 256  # the first code's
READ = 20
VARIANTS = ("fp32", "int8")
FIRST_CODE = "transformers, as the first code"


def write_passages(data: Path, count: int, path: Path) -> None:
    """Cut passages from the paragraphs, 100 words on average as DPR's are, and of varied lengths."""
    articles = json.loads(data.read_text(encoding="utf-8"))["data"]
    paragraphs = [(a["title"].replace("_", " "), p["context"].split()) for a in articles for p in a["paragraphs"]]
    draw = random.Random(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("id", "text", "title"))
        for number in range(1, count + 1):
            title, words = draw.choice(paragraphs)
            length = max(20, min(len(words), int(draw.gauss(100, 30))))
            start = draw.randrange(0, max(1, len(words) - length))
            writer.writerow((number, " ".join(words[start : start + length]), title))


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


def make_models(work: Path) -> dict[str, Any]:
    """The demo's checkpoints, and what `dpr-export` makes of them.

    In a process of its own too: the peak of a process counts what its parent had when it was forked.
    """
    from dpr_export.exporter.source import found

    for kind in KINDS:
        with found(f"demo/{kind}") as checkpoint:
            subprocess.run(["cp", "-r", str(checkpoint.folder), str(work / f"{kind}-checkpoint")], check=True)
        command = [Path(sys.executable).with_name("dpr-export"), work / f"{kind}-checkpoint", "-o", work / kind]
        subprocess.run([*command, "--precision", "fp32", "--precision", "int8"], check=True, capture_output=True)
    return {}


def encode_ours(work: Path, precision: str, passages: str, output: str) -> dict[str, Any]:
    """Encode a corpus: passages a second, and the share of time that each stage was at work."""
    from dpr_export.runtime.corpus import encode_corpus

    done = encode_corpus(work / "context", passages, output, precision=precision, backend="openvino", shard_size=2048)
    return {"rate": done.passages / done.seconds, "busy": {s: t / done.seconds for s, t in done.busy.items()}}


def encode_transformers(work: Path, passages: str, count: str) -> dict[str, Any]:
    """Encode the first passages as the first code does."""
    import torch
    import transformers

    from dpr_export.runtime.corpus import read_corpus

    rows = [row for _, row in zip(range(int(count)), read_corpus(passages), strict=False)]
    tokenizer = transformers.DPRContextEncoderTokenizer.from_pretrained(work / "context-checkpoint")
    model = transformers.DPRContextEncoder.from_pretrained(work / "context-checkpoint").eval()
    start = time.perf_counter()
    with torch.inference_mode():
        for first in range(0, len(rows), BATCH):
            few = rows[first : first + BATCH]
            texts = ([row.title or "" for row in few], [row.text for row in few])
            model(**tokenizer(*texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt"))
    return {"rate": len(rows) / (time.perf_counter() - start)}


def answer_ours(work: Path, precision: str, data: str) -> dict[str, Any]:
    """Answer every question with one variant."""
    from dpr_export.runtime.corpus import Models, evaluate

    models = Models(*(str(work / kind) for kind in KINDS))
    (score,) = evaluate(data, models, variants=[f"openvino-{precision}"], read=READ)
    return {
        "top": {str(k): share for k, share in score.top_k.items()},
        "exact match": score.exact_match,
        "F1": score.f1,
        "milliseconds": score.milliseconds,
        "questions": score.questions,
    }


def answer_transformers(work: Path, data: str) -> dict[str, Any]:
    """Answer every question with the same pipeline in transformers."""
    import numpy as np
    import torch
    import transformers

    from dpr_export.runtime.corpus import read_questions
    from dpr_export.runtime.corpus.matching import has_answer
    from dpr_export.runtime.corpus.official import best, exact_match, f1

    asked = read_questions(data)
    questions = asked.questions

    def loaded(kind: str, name: str) -> tuple[Any, Any]:
        folder = work / f"{kind}-checkpoint"
        tokenizer = getattr(transformers, f"{name}Tokenizer").from_pretrained(folder)
        return tokenizer, getattr(transformers, name).from_pretrained(folder).eval()

    ask, encoder = loaded("question", "DPRQuestionEncoder")
    tokenize, context = loaded("context", "DPRContextEncoder")
    tokenizer, reader = loaded("reader", "DPRReader")
    seconds = dict.fromkeys(("encode", "search", "read"), 0.0)
    right: dict[str, list[float]] = {"exact match": [], "F1": []}
    top: dict[int, list[bool]] = {1: [], 5: [], 20: []}

    def timed(stage: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        seconds[stage] += time.perf_counter() - start
        return result

    options = {"padding": True, "truncation": True, "return_tensors": "pt"}
    with torch.inference_mode():
        vectors = []
        for first in range(0, len(asked.passages), 16):
            few = asked.passages[first : first + 16]
            tokens = tokenize([row.title or "" for row in few], [row.text for row in few], max_length=512, **options)
            vectors.append(context(**tokens).pooler_output.numpy())
        corpus = np.concatenate(vectors)
        for question in questions:
            vector = timed(
                "encode", lambda q=question.text: encoder(**ask(q, return_tensors="pt")).pooler_output[0].numpy()
            )
            order = timed("search", lambda v=vector: np.argsort(-(corpus @ v), kind="stable"))
            rows = [asked.passages[place] for place in order[:READ]]

            def read(rows: Sequence[Any] = rows, text: str = question.text) -> list[Any]:
                titles, texts = [row.title or "" for row in rows], [row.text for row in rows]
                encoded = tokenizer(text, titles, texts, max_length=512, **options)
                found: list[Any] = tokenizer.decode_best_spans(encoded, reader(**encoded), 1, 10, 1)
                return found

            (span,) = timed("read", read)
            right["exact match"].append(best(exact_match, span.text, question.answers))
            right["F1"].append(best(f1, span.text, question.answers))
            hits = [has_answer(row.text, question.answers) for row in rows]
            for k, its in top.items():
                its.append(any(hits[:k]))
    return {
        "top": {str(k): sum(its) / len(its) for k, its in top.items()},
        **{name: sum(its) / len(its) for name, its in right.items()},
        "milliseconds": {stage: 1000 * each / len(questions) for stage, each in seconds.items()},
        "questions": len(questions),
    }


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    job.__name__: job for job in (make_models, encode_ours, encode_transformers, answer_ours, answer_transformers)
}


def in_process(job: Callable[..., Any], *arguments: object) -> dict[str, Any]:
    """What a job gives in a process of its own, with its peak of memory in MB."""
    command = [sys.executable, "-m", "benchmarks.corpus", "--worker", job.__name__, *map(str, arguments)]
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


def encoding(work: Path, data: Path, sizes: Sequence[int], part: int, rounds: int) -> dict[str, Any]:
    """Passages a second of each contender, its memory, and where ours spends its time."""
    results: dict[str, Any] = {}
    for size in sizes:
        write_passages(data, size, work / f"{size}.tsv")
        for precision in VARIANTS:
            out = work / f"out-{precision}-{size}"
            results[f"ours {precision}, {size:,}"] = in_process(encode_ours, work, precision, work / f"{size}.tsv", out)
    small = work / f"{sizes[0]}.tsv"
    turns: dict[str, list[float]] = {FIRST_CODE: [], "ours int8": [], "ours fp32": []}
    for turn in range(rounds):
        theirs = in_process(encode_transformers, work, small, part)
        turns[FIRST_CODE].append(theirs["rate"])
        for precision in VARIANTS:
            ours = in_process(encode_ours, work, precision, small, work / f"turn-{precision}-{turn}")
            turns[f"ours {precision}"].append(ours["rate"])
        results[FIRST_CODE] = {**theirs, "passages": part}
    results["rates"] = {name: median(rates) for name, rates in turns.items()}
    return results


def show(console: Console, results: dict[str, Any]) -> None:
    """Print what was measured."""
    encoded, rates = results["encoding"], results["encoding"]["rates"]
    table = Table("encode", "passages/s", "against transformers", title="in turns, medians", title_justify="left")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:,.1f}", f"{rate / rates[FIRST_CODE]:.1f}x")
    console.print(table)
    table = Table("encode", "passages/s", "reading", "tokenizing", "computing", "writing", "peak MB")
    for name, each in encoded.items():
        if "busy" in each:
            shares = (f"{share:.1%}" for share in each["busy"].values())
            table.add_row(name, f"{each['rate']:,.1f}", *shares, f"{each['peak MB']:,.0f}")
    console.print(table)
    table = Table(
        "answer", "questions", "top-1", "top-5", "top-20", "exact match", "F1", "encode", "search", "read, ms"
    )
    for name, each in results["answering"].items():
        right = (*(each["top"][k] for k in ("1", "5", "20")), each["exact match"], each["F1"])
        shares = (f"{100 * share:.1f}" for share in right)
        table.add_row(name, str(each["questions"]), *shares, *(f"{ms:,.1f}" for ms in each["milliseconds"].values()))
    console.print(table)


def main(
    data: Annotated[Path, typer.Argument(help="Questions, SQuAD's format.", exists=True)],
    passages: Annotated[int, typer.Option(min=100, help="How many passages to encode.")] = 20_000,
    quick: Annotated[bool, typer.Option("--quick", help="A few passages and questions: to see that it runs.")] = False,
    save: Annotated[Path | None, typer.Option(help="A file for the figures, JSON.")] = None,
) -> None:
    """Encode, search, read: ours against transformers."""
    sizes, part, rounds, few = ((40, 80), 16, 1, 4) if quick else ((2_000, passages), 2 * BATCH, 3, 60)
    console = Console(width=120)
    with TemporaryDirectory(prefix="dpr-export-corpus-") as folder:
        work = Path(folder)
        in_process(make_models, work)
        results: dict[str, Any] = {"about": about(quick, 0)}
        results["encoding"] = encoding(work, data, sizes, part, rounds)
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
        save.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        name, folder, *rest = sys.argv[2:]
        print(json.dumps(JOBS[name](Path(folder), *rest)))
    else:
        typer.run(main)
