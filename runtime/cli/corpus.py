"""The commands that work on an encoded corpus: index, search, ask."""

import json as jsonlib
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from dpr_export.runtime.cli.options import Backend, Device, Precision, Threads
from dpr_export.runtime.cli.show_answers import counted, human_size, show_answers
from dpr_export.runtime.cli.show_passages import show_found
from dpr_export.runtime.corpus.retrieval.ask import READ
from dpr_export.runtime.corpus.retrieval.ask import ask as ask_index
from dpr_export.runtime.corpus.retrieval.index import PassageIndex, build_index
from dpr_export.runtime.corpus.retrieval.questions import Question, read_questions, write_retrieved
from dpr_export.runtime.corpus.retrieval.search import search as search_index
from dpr_export.runtime.inference.encoders import DPRQuestionEncoder
from dpr_export.runtime.inference.reader import DPRReader

Index = Annotated[Path, typer.Option(help="The index, as dpr-runtime index writes it.", show_default=False)]
QuestionEncoder = Annotated[str, typer.Option(help="The exported question encoder.", show_default=False)]
AT_A_TIME = 1024  # questions that are searched for together: what is found is held until it is written
Parameters = Annotated[str, typer.Option(help="How FAISS searches an index that is not exact: nprobe=16, efSearch=64.")]


def index(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="The folder of shards.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder to write.", show_default="CORPUS/index")
    ] = None,
    factory: Annotated[str, typer.Option(help="FAISS's index: Flat is exact; IVF4096,Flat; HNSW32; SQfp16.")] = "Flat",
) -> None:
    """Build a FAISS index of inner products over an encoded corpus, with its passages."""
    start = time.perf_counter()
    record = build_index(corpus, output, factory=factory)
    where = output or corpus / "index"
    size = human_size(sum(path.stat().st_size for path in where.iterdir()))
    Console(highlight=False).print(
        f"{escape(record.factory)} index of {counted(record.passages, 'passage')} in [bold]{escape(str(where))}[/]: "
        f"{size}, "
        f"{time.perf_counter() - start:,.1f} s",
        soft_wrap=True,
    )


def search(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="The index.", show_default=False)],
    question_encoder: QuestionEncoder,
    question: Annotated[str | None, typer.Option(help="The question.", show_default=False)] = None,
    questions: Annotated[
        str | None,
        typer.Option(help="A file of questions: .tsv (question, answers), .json, .jsonl, or one a line; - is stdin."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="A file for what is found, as the first code's retriever writes it."),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Passages a question.", show_default="10; 100 with -o")
    ] = None,
    parameters: Parameters = "",
    backend: Backend = "auto",
    precision: Precision = "auto",
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Find the passages of an index that answer questions best."""
    if (question is None) == (questions is None):
        raise typer.BadParameter("give --question, or --questions FILE" + ("" if question is None else ", not both"))
    asked = (Question(question),) if question is not None else read_questions(questions or "-").questions
    top_k = top_k or (100 if output else 10)
    how: dict[str, Any] = {"backend": backend, "precision": precision, "device": device, "threads": threads}
    with (
        PassageIndex.open(index, parameters) as opened_index,
        DPRQuestionEncoder.from_pretrained(question_encoder, **how) as encoder,
    ):
        start = time.perf_counter()
        few = (asked[first : first + AT_A_TIME] for first in range(0, len(asked), AT_A_TIME))
        found = (question for each in few for question in search_index(each, encoder, opened_index, top_k))
        console = Console(highlight=False)
        if output is None:
            show_found(console, found)
            return
        write_retrieved(output, found)
        seconds, top_k = time.perf_counter() - start, min(top_k, opened_index.record.passages)
    console.print(
        f"{counted(len(asked), 'question')}, up to {counted(top_k, 'passage')} each, in {escape(str(output))}: "
        f"{1000 * seconds / len(asked):,.1f} ms a question",
        soft_wrap=True,
    )


def ask(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question.", show_default=False)],
    question_encoder: QuestionEncoder,
    index: Index,
    reader: Annotated[str, typer.Option(help="The exported reader.", show_default=False)],
    passages: Annotated[int, typer.Option(min=1, help="How many passages to read.")] = READ,
    top_k: Annotated[int, typer.Option(min=1, help="How many answers to give at most.")] = 5,
    max_answer_length: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 10,
    parameters: Parameters = "",
    backend: Backend = "auto",
    precision: Precision = "auto",
    device: Device = "auto",
    threads: Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print answers, passages and times as JSON.")] = False,
) -> None:
    """Answer a question from an index: encode it, search, read the best passages, answer."""
    how: dict[str, Any] = {"backend": backend, "precision": precision, "device": device, "threads": threads}
    start = time.perf_counter()
    with (
        PassageIndex.open(index, parameters) as opened_index,
        DPRQuestionEncoder.from_pretrained(question_encoder, **how) as encoder,
        DPRReader.from_pretrained(reader, **how) as opened_reader,
    ):
        loading = time.perf_counter() - start
        reply = ask_index(
            question,
            encoder,
            opened_index,
            opened_reader,
            passages=passages,
            top_k=top_k,
            max_answer_length=max_answer_length,
        )
    seconds = {"load": loading, **reply.seconds}
    if json:
        answers = [{**asdict(each), "span": each.span._asdict()} for each in reply.answers]
        found = [each._asdict() for each in reply.retrieved]
        value = {"question": question, "answers": answers, "passages": found, "seconds": seconds}
        print(jsonlib.dumps(value, ensure_ascii=False, indent=2))
        return
    console = Console(highlight=False)
    show_answers(console, question, reply.answers, reply.retrieved)
    times = ", ".join(f"{stage} {1000 * each:,.0f} ms" for stage, each in seconds.items())
    of = counted(opened_index.record.passages, "passage")
    console.print(f"\n{len(reply.retrieved)} of {of} read: {times}", style="dim")
