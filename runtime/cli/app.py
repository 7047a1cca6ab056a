"""The command `dpr-runtime`: answer, inspect, verify, pack, build. Other files have the commands for corpora."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from dpr_export.models.artifact.resolve import open_exported_folder
from dpr_export.runtime.checks.pack import pack as pack_variant
from dpr_export.runtime.checks.verify import verify as run_checks
from dpr_export.runtime.cli.corpus import ask, index, search
from dpr_export.runtime.cli.encode import encode
from dpr_export.runtime.cli.evaluate import evaluate
from dpr_export.runtime.cli.options import Backend, Device, Folder, LocalFolder, Precision, Threads, Version
from dpr_export.runtime.cli.run_command import defer_signals, run_command
from dpr_export.runtime.cli.show_answers import answers_to_json, human_size, print_json, show_answers
from dpr_export.runtime.cli.show_build import BuildBars, show_engine
from dpr_export.runtime.cli.show_manifest import show_manifest
from dpr_export.runtime.corpus.passages import Passage, format_of, read_corpus
from dpr_export.runtime.corpus.retrieval.search import read_passages
from dpr_export.runtime.engines.nvidia.shape_buckets import LENGTHS
from dpr_export.runtime.inference.reader import DPRReader

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_MARKS = {True: "[green]ok[/]     ", None: "[yellow]skipped[/]", False: "[red]FAILED[/] "}


@app.callback()
def show_version(version: Version = False) -> None:
    """Run exported DPR models, without PyTorch."""


@app.command()
def answer(
    folder: Folder,
    question: Annotated[str, typer.Option(help="The question to answer.", show_default=False)],
    passages: Annotated[
        str | None,
        typer.Option(
            help="A file of passages: .jsonl, .tsv, .parquet; - is standard input (JSON lines).",
            show_default=False,
        ),
    ] = None,
    title: Annotated[list[str] | None, typer.Option(help="The title of a passage; may be repeated.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="The text of a passage; may be repeated.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="The largest number of answers.")] = 5,
    max_answer_length: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 10,
    backend: Backend = "auto",
    precision: Precision = "auto",
    device: Device = "auto",
    threads: Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print the answers as JSON.")] = False,
) -> None:
    """Answer a question from given passages with a reader."""
    given = _load_passages(passages, title or [], text or [])
    how: Any = {"backend": backend, "precision": precision, "device": device, "threads": threads}
    with DPRReader.from_pretrained(folder, **how) as reader:
        answers = read_passages(reader, question, given, top_k, max_answer_length)
    if json:
        print_json(answers_to_json(answers))
    else:
        show_answers(Console(highlight=False), question, answers, given)


def _load_passages(file: str | None, titles: list[str], texts: list[str]) -> list[Passage]:
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
    folder: Folder, json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False
) -> None:
    """Show an exported folder: its source, its files, and how its variants were verified."""
    exported = open_exported_folder(folder)
    exported.check()
    manifest = exported.manifest
    if json:
        print(manifest.to_json(), end="")
    else:
        show_manifest(Console(), manifest)


@app.command()
def verify(
    folder: LocalFolder, device: Annotated[str, typer.Option(help="Where to run: cpu, cuda, cuda:1.")] = "cpu"
) -> None:
    """Verify an exported folder on this machine: file hashes, and the parity check against reference outputs.

    The exit code is 1 if a check fails.
    """
    console = Console(highlight=False)
    failed = 0
    for check in run_checks(folder, device):
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
        str,
        typer.Option(help="The variant, as onnxruntime-int8; auto takes the one that this machine's CPU would run."),
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing exported folder.")] = False,
) -> None:
    """Copy one variant and the files that it needs into a folder of its own, for a device that runs only that.

    The graph that takes inputs_embeds is not copied.
    """
    manifest = pack_variant(folder, output, variant, force)
    (packed,) = manifest.variants
    full = open_exported_folder(folder).manifest
    ours, theirs = (human_size(sum(record.bytes for record in each.files.values())) for each in (manifest, full))
    Console(highlight=False).print(
        f"{packed.backend} {packed.precision} in [bold]{escape(str(output))}[/]: {ours} of {theirs}",
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
            help="A length that inputs are padded to; may be repeated. The model's longest length is always added.",
            show_default=", ".join(map(str, LENGTHS)),
        ),
    ] = None,
    compute_capability: Annotated[
        str | None,
        typer.Option(
            help="Build for GPUs of this compute capability, as 8.9, without a GPU here. Needs tensorrt-rtx.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Rebuild the engine even if a matching one exists.")] = False,
) -> None:
    """Build a TensorRT engine file in the user's cache folder, and verify it on the GPU."""
    from dpr_export.runtime.checks.build_engine import build_engine

    console = Console(highlight=False, stderr=True)
    with defer_signals() as is_signaled, BuildBars(console, is_signaled) as bars:
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
