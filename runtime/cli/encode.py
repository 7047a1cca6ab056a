"""The command `dpr-runtime encode`: a few texts into one file, a corpus of any size into a folder of shards."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

from dpr_export.models.artifact.atomic_writing import atomic_file
from dpr_export.models.artifact.resolve import open_exported_folder
from dpr_export.models.kinds import CONTEXT, KINDS, READER
from dpr_export.runtime.cli.corpus_progress import passages_bar
from dpr_export.runtime.cli.options import Backend, Device, Folder, Precision, Threads
from dpr_export.runtime.cli.show_answers import counted
from dpr_export.runtime.corpus.encoding.encode import SHARD_SIZE, check_choices, encode_corpus
from dpr_export.runtime.corpus.encoding.plan import Encoded
from dpr_export.runtime.corpus.encoding.shards import shard_numbers
from dpr_export.runtime.corpus.passages import SKIPPED, Passage, format_of, read_corpus
from dpr_export.runtime.corpus.text_files import open_text, read_lines
from dpr_export.runtime.inference.encoders import SEGMENTS, DPRContextEncoder, DPRQuestionEncoder

TEXT = "text"
_NO_TEXTS = (".csv", ".json")  # of which a line is no text
Format = Annotated[
    str,
    typer.Option(
        help="What FILE is, where its name does not say: tsv (id, text, title), jsonl, parquet; or text, one a line."
    ),
]


def encode(
    folder: Folder,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="The texts: .tsv, .jsonl or .parquet, also .gz, or one text a line; - is standard input.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT", help="One file, if it ends with .npy; else a folder of shards.", show_default=False
        ),
    ],
    format: Format = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a folder that was interrupted.")] = False,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Compute every N-th shard from the I-th, as one of N machines.")
    ] = "1/1",
    shard_size: Annotated[int, typer.Option(min=1, help="Passages a shard.")] = SHARD_SIZE,
    stored: Annotated[str, typer.Option("--store", help="What the shards are: npy (with jsonl), or parquet.")] = "npy",
    dtype: Annotated[str, typer.Option(help="The numbers that the shards store: fp32, fp16.")] = "fp32",
    segments: Annotated[
        str, typer.Option(help="Token types: hf, as transformers; dpr, as the first code and the published indexes.")
    ] = "hf",
    on_error: Annotated[str, typer.Option(help="What a row that is no passage does: stop, or skip.")] = "stop",
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Compute on a Ray cluster; local starts one here.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers on Ray.", show_default="as many as there are processors for")
    ] = None,
    backend: Backend = "auto",
    precision: Precision = "auto",
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Turn questions or passages into vectors: a few into one file, a corpus of any size into a folder of shards."""
    console = Console(stderr=True, highlight=False)
    how: dict[str, Any] = {"backend": backend, "precision": precision, "device": device, "threads": threads}
    if output.suffix == ".npy":
        of_shards = {
            "--resume": resume,
            "--shard": shard != "1/1",
            "--shard-size": shard_size != SHARD_SIZE,
            "--store": stored != "npy",
            "--dtype": dtype != "fp32",
            "--ray": ray is not None,
            "--workers": workers is not None,
        }
        if given := [name for name, is_given in of_shards.items() if is_given]:
            raise typer.BadParameter(f"{given[0]} is for folders of shards, and {output} is one file")
        _encode_file(console, folder, file, format, output, segments, on_error, how)
        return
    if format == TEXT:
        raise typer.BadParameter(f"--format text is for one file that ends with .npy, and {output} is a folder")
    with _resumable(console, file, output), passages_bar(console) as watch:
        done = encode_corpus(
            folder,
            file,
            output,
            format=format,
            segments=segments,
            shard_size=shard_size,
            part=_part(shard),
            stored=stored,
            dtype=dtype,
            on_error=on_error,
            resume=resume,
            ray=ray,
            workers=workers,
            tell=_teller(console),
            watch=watch,
            **how,
        )
    _show_encoded(console, done, output)


@contextmanager
def _resumable(console: Console, file: str, output: Path) -> Iterator[None]:
    """Say that what is whole stays, when a job is interrupted."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        whole = len(shard_numbers(output)) if output.is_dir() else 0
        if not whole:
            console.print("no shard was whole, so nothing is kept: a smaller --shard-size keeps more")
        elif file != "-":
            said = f"{counted(whole, 'shard')} in {escape(str(output))}: the same command with --resume goes on"
            console.print(said, soft_wrap=True)
        raise


def _show_encoded(console: Console, done: Encoded, output: Path) -> None:
    if done.there and not done.shards:
        said = f"nothing was left to do: {counted(done.there, 'shard')} in {escape(str(output))}"
        console.print(said, soft_wrap=True)
        return
    there = f" ({counted(done.there, 'shard')} there already)" if done.there else ""
    left_out = f", {counted(done.skipped, 'row')} left out" if done.skipped else ""
    console.print(
        f"{counted(done.passages, 'passage')} to {counted(done.shards, 'shard')} in {escape(str(output))}"
        f"{there}{left_out}: "
        f"{done.passages / done.seconds:,.0f} passages/s",
        soft_wrap=True,
    )
    shares = ", ".join(f"{stage} {seconds / done.seconds:.0%}" for stage, seconds in done.busy.items())
    console.print(f"busy, of {done.seconds:,.1f} s (they overlap): {shares}", style="dim", soft_wrap=True)


def _encode_file(
    console: Console,
    folder: str,
    file: str,
    format: str,
    output: Path,
    segments: str,
    on_error: str,
    how: dict[str, Any],
) -> None:
    """All texts of a file, held in memory, into one array: float32 (n, dim), in the order given."""
    kind = KINDS[open_exported_folder(folder).manifest.kind]
    check_choices(segments=segments, on_error=on_error)
    if kind is not CONTEXT and segments != SEGMENTS[0]:
        raise typer.BadParameter(f"--segments is for passages, and {folder} holds a {kind.name} model")
    if kind is READER:
        raise ValueError(f"{folder} holds a reader, which gives no vectors: use a question or context encoder")
    with atomic_file(output) as written:
        read = _rows(file, format, on_error, _teller(console))
        start = time.perf_counter()
        texts = [row.text for row in read]
        if kind is CONTEXT:
            with DPRContextEncoder.from_pretrained(folder, **how) as context:
                titles = [row.title for row in read]
                vectors = context.encode(texts, titles, segments=segments, show_progress=console.is_terminal)
        else:
            with DPRQuestionEncoder.from_pretrained(folder, **how) as question:
                vectors = question.encode(texts, show_progress=console.is_terminal)
        np.save(written, vectors, allow_pickle=False)
    rate = len(texts) / (time.perf_counter() - start)
    told = f"{counted(len(texts), 'text')} to {escape(str(output))}"
    console.print(f"{told}: float32 {vectors.shape}, {rate:,.0f} texts/s", soft_wrap=True)


def _rows(file: str, format: str, on_error: str, tell: Callable[[str], None]) -> list[Passage]:
    """The texts of a file; one a line where its name says nothing else."""
    if format == "auto" and Path(file).suffix in _NO_TEXTS:
        raise ValueError(f"{file} is no list of texts: give one text a line, .tsv, .jsonl or .parquet")
    if format == "auto":
        format = format_of(file, default=TEXT)
    if format != TEXT:
        return list(read_corpus(file, format, on_error=on_error, tell=tell))
    with open_text(file) as stream:
        return [Passage("", None, line.rstrip("\r\n")) for line in read_lines(stream, file)]


def _teller(console: Console) -> Callable[[str], None]:
    def tell(line: str) -> None:
        console.print(escape(line), style="yellow" if line.startswith(SKIPPED) else "dim", soft_wrap=True)

    return tell


def _part(text: str) -> tuple[int, int]:
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise typer.BadParameter(f"--shard is {text!r}, and must be I/N, from 1/N to N/N")
    return int(index), int(count)
