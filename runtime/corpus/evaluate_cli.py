"""The command `dpr-runtime evaluate`, and what it shows: a table, JSON, a picture."""

import json as jsonlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dpr_export.models.writing import file_written_whole
from dpr_export.runtime.corpus.evaluate import READ, Models, Score
from dpr_export.runtime.corpus.evaluate import evaluate as scores_of
from dpr_export.runtime.corpus.missing import needed
from dpr_export.runtime.options import Threads


def evaluate(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="Questions with answers: SQuAD's .json, a retriever's .json, .tsv.", show_default=False
        ),
    ],
    reader: Annotated[str | None, typer.Option(help="The exported reader.", show_default=False)] = None,
    question_encoder: Annotated[str | None, typer.Option(help="The exported question encoder.")] = None,
    context_encoder: Annotated[str | None, typer.Option(help="The exported context encoder.")] = None,
    passages: Annotated[
        str | None, typer.Option(help="The passages to search: .tsv, .jsonl, .parquet.", show_default="DATA's own")
    ] = None,
    index: Annotated[Path | None, typer.Option(help="An index to search instead.")] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="A variant, as openvino-int8; may be repeated.", show_default="all that the folders hold"),
    ] = None,
    read: Annotated[int, typer.Option(min=1, help="How many of the found passages the reader reads.")] = READ,
    max_answer_length: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 10,
    threads: Threads = None,
    picture: Annotated[Path | None, typer.Option(help="A picture to draw: .png, .svg, .pdf.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the scores and answers as JSON.")] = False,
) -> None:
    """Judge models on your own questions: top-k accuracy, exact match and F1, of each variant beside the others."""
    console = Console(stderr=True, highlight=False)
    if picture is not None:
        needed("matplotlib")
    scores: list[Score] = []
    for score in scores_of(
        data,
        Models(question_encoder, context_encoder, reader),
        passages=passages,
        index=index,
        variants=variant or (),
        read=read,
        max_answer_length=max_answer_length,
        threads=threads,
        tell=lambda line: console.print(escape(line), style="yellow", soft_wrap=True),
    ):
        scores.append(score)
    if not scores:
        raise ValueError("no variant could be run here")
    if json:
        print(jsonlib.dumps([asdict(score) for score in scores], ensure_ascii=False, indent=2))
    else:
        show_scores(Console(highlight=False), scores)
    if picture is not None:
        draw_scores(picture, scores)


def figures(score: Score) -> dict[str, float]:
    """The shares that are right, by what they are called."""
    figures = {f"top-{k}": share for k, share in score.top_k.items()}
    judged = {"exact match": score.exact_match, "F1": score.f1}
    return {**figures, **{name: share for name, share in judged.items() if share is not None}}


def show_scores(console: Console, scores: Sequence[Score]) -> None:
    """Print a column for each variant: percents, and what they differ from the first column's by; milliseconds."""
    first = figures(scores[0])
    table = Table("", title=f"{scores[0].questions:,} questions", title_justify="left", title_style="bold")
    for score in scores:
        table.add_column(score.variant, justify="right", overflow="fold")
    for name, share in first.items():
        others = [100 * figures(score)[name] for score in scores[1:]]
        changes = [f"{each:.1f} ({each - 100 * share:+.1f})" for each in others]
        table.add_row(f"{name}, %", f"{100 * share:.1f}", *changes)
    for stage in scores[0].milliseconds:
        table.add_row(f"{stage}, ms a question", *(f"{score.milliseconds[stage]:,.1f}" for score in scores))
    console.print(table)


def draw_scores(path: Path, scores: Sequence[Score]) -> None:
    """Draw the percents that are right, and the time that a question takes, variant beside variant."""
    figure_class = needed("matplotlib.figure").Figure
    names, width = list(figures(scores[0])), 0.8 / len(scores)
    picture = figure_class(figsize=(3 + 0.35 * len(names) * (1 + len(scores)), 4), layout="constrained")
    right, times = picture.subplots(1, 2, width_ratios=(3, 1))
    for place, score in enumerate(scores):
        middles = [x + (place - (len(scores) - 1) / 2) * width for x in range(len(names))]
        bars = right.bar(middles, [100 * share for share in figures(score).values()], width, label=score.variant)
        right.bar_label(bars, fmt="%.1f", fontsize=7, padding=1)
        below = 0.0
        for stage, colour in zip(score.milliseconds, ("tab:gray", "silver", "dimgray"), strict=False):
            label = stage if score is scores[0] else None
            times.bar(score.variant, score.milliseconds[stage], bottom=below, color=colour, label=label)
            below += score.milliseconds[stage]
        times.annotate(f"{below:,.0f}", (score.variant, below), ha="center", va="bottom", fontsize=8)
    right.set_xticks(range(len(names)), names)
    right.set(ylabel="percent", ylim=(0, 112), title=f"right, of {scores[0].questions:,} questions")
    right.legend(loc="upper right", ncols=len(scores), fontsize=8)
    times.set(ylabel="milliseconds", title="time a question takes")
    times.margins(y=0.25)
    times.tick_params(axis="x", rotation=30)
    times.legend(loc="upper right", fontsize=8)
    with file_written_whole(path) as file:
        try:
            picture.savefig(file, format=path.suffix[1:] or "png", dpi=150)
        except ValueError as error:
            raise ValueError(f"picture {path} cannot be drawn: {error}") from None
