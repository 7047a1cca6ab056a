"""The command `dpr-runtime evaluate`, and its results as a table, JSON or a picture."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dpr_export.models.artifact.atomic_writing import atomic_file
from dpr_export.runtime.cli.options import Match, Normalize, Threads
from dpr_export.runtime.cli.show_answers import count_of, print_json
from dpr_export.runtime.corpus.evaluation.evaluate import Models
from dpr_export.runtime.corpus.evaluation.evaluate import evaluate as evaluate_variants
from dpr_export.runtime.corpus.evaluation.scores import Score
from dpr_export.runtime.corpus.optional_libraries import import_library
from dpr_export.runtime.corpus.retrieval.search import READ


def evaluate(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Questions with answers: .json (SQuAD's format, or retrieval results), .jsonl, .tsv.",
            show_default=False,
        ),
    ],
    reader: Annotated[str | None, typer.Option(help="The exported reader.", show_default=False)] = None,
    question_encoder: Annotated[str | None, typer.Option(help="The exported question encoder.")] = None,
    context_encoder: Annotated[str | None, typer.Option(help="The exported context encoder.")] = None,
    passages: Annotated[
        str | None,
        typer.Option(
            help="A file of passages to search, held in memory: .tsv, .jsonl, .parquet.", show_default="DATA's own"
        ),
    ] = None,
    index: Annotated[Path | None, typer.Option(help="An index to search instead of passages.")] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="A variant, as openvino-int8; may be repeated.", show_default="all that every folder holds"),
    ] = None,
    read: Annotated[int, typer.Option(min=1, help="How many of the retrieved passages to read.")] = READ,
    max_answer_length: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 10,
    match: Match = "string",
    normalize_questions: Normalize = False,
    threads: Threads = None,
    picture: Annotated[Path | None, typer.Option(help="A file to draw the scores in: .png, .svg, .pdf.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the scores and answers as JSON.")] = False,
) -> None:
    """Evaluate models on your own questions: top-k accuracy, exact match and F1 of each variant."""
    console = Console(stderr=True, highlight=False)
    if picture is not None:
        check_picture(picture)
    scores: list[Score] = []
    start = time.perf_counter()
    with console.status("reading the questions") as status:
        for score in evaluate_variants(
            data,
            Models(question_encoder, context_encoder, reader),
            passages=passages,
            index=index,
            variants=variant or (),
            read=read,
            max_answer_length=max_answer_length,
            threads=threads,
            match=match,
            normalize=normalize_questions,
            tell=lambda line: console.print(escape(line), style="yellow", soft_wrap=True),
            watch=lambda name: status.update(f"evaluating {escape(name)}"),
        ):
            scores.append(score)
            console.print(f"{escape(score.variant)}: evaluated in {time.perf_counter() - start:,.1f} s", style="dim")
            start = time.perf_counter()
    if not scores:
        raise ValueError("no variant can run here")
    if json:
        print_json([asdict(score) for score in scores])
    else:
        show_scores(Console(highlight=False), scores)
    if picture is not None:
        draw_scores(picture, scores)


PICTURES = (".png", ".svg", ".pdf")
_MEANINGS = {
    "top-k": "the share of the questions with an answer that have it in one of the first k passages",
    "exact match": "the share of questions that the reader answers exactly right, by SQuAD's rules; F1 counts words",
}


def metrics(score: Score) -> dict[str, float]:
    """The metrics of a variant, from 0 to 1, by name."""
    metrics = {f"top-{k}": share for k, share in score.top_k.items()}
    answers = {"exact match": score.exact_match, "F1": score.f1}
    return {**metrics, **{name: share for name, share in answers.items() if share is not None}}


def show_scores(console: Console, scores: Sequence[Score]) -> None:
    """Print a column for each variant: percentages with their difference from the first column, and milliseconds."""
    first = metrics(scores[0])
    table = Table("", title=_describe(scores[0]), title_justify="left", title_style="bold")
    for score in scores:
        table.add_column(score.variant, justify="right", overflow="fold")
    for name, share in first.items():
        others = [100 * metrics(score)[name] for score in scores[1:]]
        changes = [f"{each:.1f} ({each - 100 * share:+.1f})" for each in others]
        table.add_row(f"{name}, %", f"{100 * share:.1f}", *changes)
    for stage in scores[0].milliseconds:
        table.add_row(f"{stage}, ms per question", *(f"{score.milliseconds[stage]:,.1f}" for score in scores))
    console.print(table)
    for what, meaning in _MEANINGS.items():
        if any(name.startswith(what.removesuffix("k")) for name in first):
            console.print(f"{what}: {meaning}", style="dim", soft_wrap=True)
    if len(scores) > 1:
        console.print(f"in brackets: the difference from {scores[0].variant}", style="dim", soft_wrap=True)


def _describe(score: Score) -> str:
    """How many questions and passages the scores are of."""
    searched = "" if score.searched is None else f", {count_of(score.searched, 'passage')} searched"
    own = score.searched is None and not score.top_k
    read = "" if score.read is None else ", the paragraph of each read" if own else f", {score.read} read for each"
    return count_of(score.questions, "question") + searched + read


def check_picture(path: Path) -> None:
    """Check before anything is computed that a picture can be drawn."""
    import_library("matplotlib")
    if path.suffix.lower() not in PICTURES:
        raise ValueError(f"picture {path} cannot be drawn: its name must end with one of {', '.join(PICTURES)}")
    if path.is_dir():
        raise IsADirectoryError(f"picture {path} is a folder: give a file")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"picture {path} cannot be written: there is no folder {path.absolute().parent}")


def draw_scores(path: Path, scores: Sequence[Score]) -> None:
    """Draw the metrics of the variants side by side, and below them the time that a question takes."""
    figure_class = import_library("matplotlib.figure").Figure
    names, width = list(metrics(scores[0])), 0.8 / len(scores)
    heights = (3.2, 0.9 + 0.35 * len(scores))
    picture = figure_class(figsize=(max(9.0, 0.5 * len(names) * (1 + len(scores))), sum(heights)), layout="constrained")
    right, times = picture.subplots(2, 1, height_ratios=heights)
    for place, score in enumerate(scores):
        middles = [x + (place - (len(scores) - 1) / 2) * width for x in range(len(names))]
        bars = right.bar(middles, [100 * share for share in metrics(score).values()], width, label=score.variant)
        right.bar_label(bars, fmt="%.1f", fontsize=7, padding=1)
        before = 0.0
        for stage, colour in zip(score.milliseconds, ("tab:brown", "tab:olive", "tab:gray"), strict=False):
            label = stage if score is scores[0] else None
            times.barh(score.variant, score.milliseconds[stage], 0.6, before, color=colour, label=label)
            before += score.milliseconds[stage]
        times.annotate(
            f" {before:,.1f}" if before < 10 else f" {before:,.0f}", (before, score.variant), va="center", fontsize=8
        )
    right.set_xticks(range(len(names)), names)
    right.set(ylabel="percent", ylim=(0, 110), title=_describe(scores[0]))
    right.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    times.set(xlabel="milliseconds per question")
    times.margins(x=0.1)
    times.invert_yaxis()
    times.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    with atomic_file(path) as file:
        picture.savefig(file, format=path.suffix.lower()[1:], dpi=150)
