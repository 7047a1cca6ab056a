"""The command `dpr-runtime`: what exported folders are run, looked at, checked, packed and built with.

The commands for corpora stand in corpus/cli.py.
"""

import json as jsonlib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from dpr_export.models.artifact.resolve import open_exported_folder
from dpr_export.runtime.checks.pack import pack as pack_variant
from dpr_export.runtime.checks.verify import verify as checks_of
from dpr_export.runtime.cli.corpus import ask, index, search
from dpr_export.runtime.cli.encode import encode
from dpr_export.runtime.cli.evaluate import evaluate
from dpr_export.runtime.cli.options import Backend, Device, Folder, LocalFolder, Precision, Threads
from dpr_export.runtime.cli.run_command import run_command, signals_deferred
from dpr_export.runtime.cli.show_answers import human_size, show_answers
from dpr_export.runtime.cli.show_build import BuildBars, show_engine
from dpr_export.runtime.cli.show_manifest import show_manifest
from dpr_export.runtime.corpus.passages import Passage, format_of, read_corpus
from dpr_export.runtime.engines.nvidia.shape_buckets import LENGTHS
from dpr_export.runtime.inference.reader import DPRReader

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run exported DPR models, without PyTorch.",
)
_MARKS = {True: "[green]ok[/]     ", None: "[yellow]skipped[/]", False: "[red]FAILED[/] "}


@app.command()
def answer(
    folder: Folder,
    question: Annotated[str, typer.Option(help="The question.", show_default=False)],
    passages: Annotated[
        str | None,
        typer.Option(
            help="The passages: .jsonl, .tsv or .parquet; - is standard input.",
            show_default=False,
        ),
    ] = None,
    title: Annotated[list[str] | None, typer.Option(help="A passage's title; may be repeated.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="A passage's text; may be repeated.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many answers to give at most.")] = 5,
    max_answer_length: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 10,
    backend: Backend = "auto",
    precision: Precision = "auto",
    device: Device = "auto",
    threads: Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print the answers as JSON.")] = False,
) -> None:
    """Answer a question from passages, with a reader."""
    read = _passages(passages, title or [], text or [])
    how: Any = {"backend": backend, "precision": precision, "device": device, "threads": threads}
    with DPRReader.from_pretrained(folder, **how) as reader:
        answers = reader.answer(
            question,
            [passage.title or "" for passage in read],
            [passage.text for passage in read],
            top_k=top_k,
            max_answer_length=max_answer_length,
        )
    if json:
        print(jsonlib.dumps([{**asdict(a), "span": a.span._asdict()} for a in answers], ensure_ascii=False, indent=2))
    else:
        show_answers(Console(highlight=False), question, answers, read)


def _passages(file: str | None, titles: list[str], texts: list[str]) -> list[Passage]:
    if file is not None and (texts or titles):
        raise typer.BadParameter("give --passages, or --title and --text, not both")
    if file is not None:
        if not (passages := list(read_corpus(file, format_of(file, default="jsonl")))):
            raise ValueError(f"{file} holds no passages")
        return passages
    if not texts:
        raise typer.BadParameter("there are no passages: give --passages FILE.jsonl, or --title and --text")
    if titles and len(titles) != len(texts):
        raise typer.BadParameter(f"--title is given {len(titles)} times and --text {len(texts)} times")
    return [Passage("", title or None, text) for title, text in zip(titles or [""] * len(texts), texts, strict=True)]


@app.command()
def inspect(
    folder: Folder, json: Annotated[bool, typer.Option("--json", help="Print the manifest as it is.")] = False
) -> None:
    """Show what an exported folder holds, and how it was proved."""
    opened = open_exported_folder(folder)
    opened.check()
    manifest = opened.manifest
    if json:
        print(manifest.to_json(), end="")
    else:
        show_manifest(Console(), manifest)


@app.command()
def verify(folder: LocalFolder, device: Annotated[str, typer.Option(help="Where: cpu, cuda, cuda:1.")] = "cpu") -> None:
    """Check a folder on this machine: hashes, and golden outputs. Exit code 1 if anything fails."""
    console = Console(highlight=False)
    failed = 0
    for check in checks_of(folder, device):
        failed += check.passed is False
        mark = _MARKS[check.passed]
        console.print(f"{mark} {escape(check.what)}: {escape(check.found)}", soft_wrap=True)
    console.print("[bold green]PASSED[/]" if not failed else f"[bold red]FAILED[/]: {failed} checks")
    if failed:
        raise typer.Exit(1)


@app.command()
def pack(
    folder: Folder,
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.", show_default=False)],
    variant: Annotated[
        str, typer.Option(help="The variant, as onnxruntime-int8; auto: the one that this machine's CPU would run.")
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace an exported folder that exists.")] = False,
) -> None:
    """Copy one variant, and what it needs, into a folder of its own: for devices that run that alone.

    The graph that takes embeddings in place of ids is left out.
    """
    manifest = pack_variant(folder, output, variant, force)
    (packed,) = manifest.variants
    sizes = [
        sum(record.bytes for record in m.files.values()) for m in (manifest, open_exported_folder(folder).manifest)
    ]
    Console(highlight=False).print(
        f"{packed.backend} {packed.precision} in [bold]{escape(str(output))}[/]: {human_size(sizes[0])}, of the "
        f"{human_size(sizes[1])} of {escape(folder)}",
        soft_wrap=True,
    )


@app.command()
def build(
    folder: LocalFolder,
    precision: Annotated[str, typer.Option(help="The variant to build: fp16, int8, fp32.")] = "auto",
    device: Annotated[str, typer.Option(help="The GPU to build on and for: cuda, cuda:1.")] = "cuda",
    length: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="A length that calls are padded to; may be repeated. The model's longest is always one.",
            show_default=", ".join(map(str, LENGTHS)),
        ),
    ] = None,
    compute_capability: Annotated[
        str | None,
        typer.Option(help="Build for such GPUs instead, without one: 8.9. Takes tensorrt-rtx.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build again what is there already, as it should be.")] = False,
) -> None:
    """Build a TensorRT engine, in place of the last in the user's cache folder, and compare it on the GPU."""
    from dpr_export.runtime.checks.build_engine import build_engine

    console = Console(highlight=False, stderr=True)
    with signals_deferred() as stopped, BuildBars(console, stopped) as bars:
        engine = build_engine(
            folder,
            precision=precision,
            device=device,
            lengths=length or LENGTHS,
            compute_capability=compute_capability,
            force=force,
            watch=bars,
        )
    show_engine(Console(highlight=False), engine)


for command in (encode, index, search, ask, evaluate):
    app.command()(command)


def main() -> None:
    """The entry point."""
    run_command(app, "dpr-runtime")
