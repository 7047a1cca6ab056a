"""The commands that work on an encoded corpus: index, search, ask."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from dpr_export.runtime.cli.options import Backend, Device, Match, Normalize, Precision, Threads
from dpr_export.runtime.cli.show_answers import (
    answers_to_json,
    count_of,
    human_size,
    print_json,
    show_answers,
    show_retrieved,
)
from dpr_export.runtime.corpus.retrieval.answer_matching import check_match
from dpr_export.runtime.corpus.retrieval.build_index import build_index
from dpr_export.runtime.corpus.retrieval.index import PassageIndex
from dpr_export.runtime.corpus.retrieval.questions import (
    Question,
    find_invalid_answers,
    normalize_question,
    read_questions,
    write_retrieved,
)
from dpr_export.runtime.corpus.retrieval.search import READ
from dpr_export.runtime.corpus.retrieval.search import ask as ask_index
from dpr_export.runtime.corpus.retrieval.search import search as search_index
from dpr_export.runtime.inference.encoders import DPRQuestionEncoder
from dpr_export.runtime.inference.reader import DPRReader

Index = Annotated[Path, typer.Option(help="The index, which dpr-runtime index makes.", show_default=False)]
QuestionEncoder = Annotated[str, typer.Option(help="The exported question encoder.", show_default=False)]
AT_A_TIME = 1024  # questions that are searched together: their results are held in memory until they are written
Parameters = Annotated[
    str, typer.Option(help="Search parameters of FAISS for an index that is not exact: nprobe=16, efSearch=64.")
]


def index(
    corpus: Annotated[
        Path,
        typer.Argument(
            metavar="CORPUS", help="The folder of shards, which dpr-runtime encode makes.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder to write.", show_default="CORPUS/index")
    ] = None,
    factory: Annotated[
        str, typer.Option(help="FAISS's factory string: Flat is exact; IVF4096,Flat; HNSW32; SQfp16.")
    ] = "Flat",
) -> None:
    """Build a FAISS index of an encoded corpus, by inner product. It holds the passages too."""
    start = time.perf_counter()
    record = build_index(corpus, output, factory=factory)
    where = output or corpus / "index"
    size = human_size(sum(path.stat().st_size for path in where.iterdir()))
    Console(highlight=False).print(
        f"{escape(record.factory)} index of {count_of(record.passages, 'passage')} in [bold]{escape(str(where))}[/]: "
        f"{size}, {time.perf_counter() - start:,.1f} s",
        soft_wrap=True,
    )


def search(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="The index.", show_default=False)],
    question_encoder: QuestionEncoder,
    question: Annotated[str | None, typer.Option(help="One question.", show_default=False)] = None,
    questions: Annotated[
        str | None,
        typer.Option(
            help="A file of questions: .tsv (question, answers), .json, .jsonl, or one a line; - is standard input."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="A file for the results, in facebookresearch/DPR's format (.json)."),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Passages for each question.", show_default="10, or 100 with -o")
    ] = None,
    match: Match = "string",
    normalize_questions: Normalize = False,
    parameters: Parameters = "",
    backend: Backend = "auto",
    precision: Precision = "auto",
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Retrieve the passages of an index that answer questions best."""
    if (question is None) == (questions is None):
        raise typer.BadParameter("give --question, or --questions FILE" + ("" if question is None else ", not both"))
    check_match(match)
    asked = (Question(question),) if question is not None else read_questions(questions or "-").questions
    if normalize_questions:
        asked = tuple(map(normalize_question, asked))
    top_k = top_k or (100 if output else 10)
    how: dict[str, Any] = {"backend": backend, "precision": precision, "device": device, "threads": threads}
    with (
        PassageIndex.open(index, parameters) as opened_index,
        DPRQuestionEncoder.from_pretrained(question_encoder, **how) as encoder,
    ):
        start = time.perf_counter()
        groups = (asked[first : first + AT_A_TIME] for first in range(0, len(asked), AT_A_TIME))
        results = (result for group in groups for result in search_index(group, encoder, opened_index, top_k))
        console = Console(highlight=False)
        if output is None:
            show_retrieved(console, results)
            return
        for problem in find_invalid_answers(asked) if match == "regex" else ():
            console.print(escape(problem), style="yellow", soft_wrap=True)
        write_retrieved(output, results, match)
        seconds, top_k = time.perf_counter() - start, min(top_k, opened_index.record.passages)
    console.print(
        f"{count_of(len(asked), 'question')}, up to {count_of(top_k, 'passage')} each, in {escape(str(output))}: "
        f"{1000 * seconds / len(asked):,.1f} ms a question",
        soft_wrap=True,
    )


def ask(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question to answer.", show_default=False)],
    question_encoder: QuestionEncoder,
    index: Index,
    reader: Annotated[str, typer.Option(help="The exported reader.", show_default=False)],
    passages: Annotated[int, typer.Option(min=1, help="How many passages to read.")] = READ,
    top_k: Annotated[int, typer.Option(min=1, help="The largest number of answers.")] = 5,
    max_answer_length: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 10,
    parameters: Parameters = "",
    backend: Backend = "auto",
    precision: Precision = "auto",
    device: Device = "auto",
    threads: Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print the answers, passages and times as JSON.")] = False,
) -> None:
    """Answer a question from an index: encode the question, search, read the best passages."""
    how: dict[str, Any] = {"backend": backend, "precision": precision, "device": device, "threads": threads}
    numbers = {"passages": passages, "top_k": top_k, "max_answer_length": max_answer_length}
    start = time.perf_counter()
    with (
        PassageIndex.open(index, parameters) as opened_index,
        DPRQuestionEncoder.from_pretrained(question_encoder, **how) as encoder,
        DPRReader.from_pretrained(reader, **how) as opened_reader,
    ):
        loading = time.perf_counter() - start
        result = ask_index(question, encoder, opened_index, opened_reader, **numbers)
    seconds = {"load": loading, **result.seconds}
    if json:
        retrieved = [each._asdict() for each in result.retrieved]
        answers = answers_to_json(result.answers)
        print_json({"question": question, "answers": answers, "passages": retrieved, "seconds": seconds})
        return
    console = Console(highlight=False)
    show_answers(console, question, result.answers, result.retrieved)
    times = ", ".join(f"{stage} {1000 * each:,.0f} ms" for stage, each in seconds.items())
    of = count_of(opened_index.record.passages, "passage")
    console.print(f"\n{len(result.retrieved)} of {of} read: {times}", style="dim")
