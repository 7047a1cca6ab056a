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
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from dpr_export.models.artifact.atomic_writing import atomic_file
from dpr_export.models.artifact.resolve import open_exported_folder
from dpr_export.models.kinds import CONTEXT, KINDS, READER
from dpr_export.runtime.cli.options import Backend, Device, Folder, Precision, Threads
from dpr_export.runtime.cli.show_answers import count_of
from dpr_export.runtime.corpus.encoding.encode import SHARD_SIZE, check_choices, encode_corpus
from dpr_export.runtime.corpus.encoding.job_part import EncodingSummary, Watch
from dpr_export.runtime.corpus.encoding.shards import shard_numbers
from dpr_export.runtime.corpus.passages import NOTE, SKIPPED, Passage, format_of, read_corpus
from dpr_export.runtime.corpus.text_files import check_lines, cut_lines, open_text
from dpr_export.runtime.inference.encoders import SEGMENTS, DPRContextEncoder, DPRQuestionEncoder

TEXT = "text"
_NOT_TEXTS = (".csv", ".json")  # a line of such a file is not a text
Format = Annotated[
    str,
    typer.Option(
        help="The format of FILE, if not clear from its name: tsv (id, text, title), jsonl, parquet, text (one a line)."
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
            metavar="OUTPUT",
            help="A file of vectors if it ends with .npy, else a folder of shards.",
            show_default=False,
        ),
    ],
    format: Format = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted job.")] = False,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Compute every N-th shard, starting with the I-th, as one of N machines.")
    ] = "1/1",
    shard_size: Annotated[int, typer.Option(min=1, help="Passages in each shard.")] = SHARD_SIZE,
    stored: Annotated[
        str, typer.Option("--store", help="The format of the shards: npy (with jsonl), or parquet.")
    ] = "npy",
    dtype: Annotated[str, typer.Option(help="The type of the stored numbers: fp32, fp16.")] = "fp32",
    segments: Annotated[
        str,
        typer.Option(
            help="token_type_ids: hf as in transformers, dpr as in facebookresearch/DPR and the published indexes."
        ),
    ] = "hf",
    on_error: Annotated[str, typer.Option(help="How to handle malformed rows: stop, or skip them.")] = "stop",
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Compute on the Ray cluster at this address; local starts one here."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="The largest number of Ray workers.", show_default="as many as there are processors for"
        ),
    ] = None,
    backend: Backend = "auto",
    precision: Precision = "auto",
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Encode questions or passages: into one file of vectors, or a corpus of any size into a folder of shards."""
    console = Console(stderr=True, highlight=False)
    how: dict[str, Any] = {"backend": backend, "precision": precision, "device": device, "threads": threads}
    if output.suffix.lower() == ".npy":
        shard_options = {
            "--resume": resume,
            "--shard": shard != "1/1",
            "--shard-size": shard_size != SHARD_SIZE,
            "--store": stored != "npy",
            "--dtype": dtype != "fp32",
            "--ray": ray is not None,
            "--workers": workers is not None,
        }
        if given := next((name for name, is_given in shard_options.items() if is_given), None):
            raise typer.BadParameter(f"{given} is for folders of shards, and {output} is one file")
        _encode_file(console, folder, file, format, output, segments, on_error, how)
        return
    if format == TEXT:
        raise typer.BadParameter(f"--format text is for one file that ends with .npy, and {output} is a folder")
    with _resumable(console, file, output), _passages_bar(console) as watch:
        done = encode_corpus(
            folder,
            file,
            output,
            format=format,
            segments=segments,
            shard_size=shard_size,
            part=_parse_part(shard),
            stored=stored,
            dtype=dtype,
            on_error=on_error,
            resume=resume,
            ray=ray,
            workers=workers,
            tell=_make_tell(console),
            watch=watch,
            **how,
        )
    _show_encoded(console, done, output)


@contextmanager
def _resumable(console: Console, file: str, output: Path) -> Iterator[None]:
    """When a job is interrupted, say how many shards are kept."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        kept = len(shard_numbers(output)) if output.is_dir() else 0
        if not kept:
            console.print("no shard was complete, so nothing is kept: a smaller --shard-size keeps more")
        elif file != "-":
            where = f"{count_of(kept, 'shard')} in {escape(str(output))}"
            console.print(f"kept {where}: repeat the command with --resume to go on", soft_wrap=True)
        raise


class _Passages(ProgressColumn):
    """The number of passages, and passages per second."""

    def render(self, task: Task) -> Text:
        of = f" of about {int(task.total):,}" if task.total else ""
        rate = f"{task.speed:,.0f}" if task.speed else "-"
        return Text(f"{int(task.completed):,}{of} passages, {rate}/s")


@contextmanager
def _passages_bar(console: Console) -> Iterator[Watch]:
    """Draw a progress bar on a terminal: passages, passages per second, time left. Yields the function to update it."""
    if not console.is_terminal:
        yield lambda _done, _total: None
        return
    columns = (TextColumn("encode"), BarColumn(), _Passages(), TimeRemainingColumn())
    with Progress(*columns, console=console, speed_estimate_period=60) as bar:
        task = bar.add_task("encode", total=None, start=False)

        def watch(done: int, total: int | None) -> None:
            bar.start_task(task)  # at the first batch: loading the model does not count
            bar.update(task, advance=done, total=total)

        yield watch


def _show_encoded(console: Console, done: EncodingSummary, output: Path) -> None:
    if done.existing and not done.shards:
        line = f"nothing left to do: {count_of(done.existing, 'shard')} in {escape(str(output))}"
        console.print(line, soft_wrap=True)
        return
    existing = f" ({count_of(done.existing, 'shard')} existed)" if done.existing else ""
    skipped = f", {count_of(done.skipped, 'row')} skipped" if done.skipped else ""
    console.print(
        f"{count_of(done.passages, 'passage')} to {count_of(done.shards, 'shard')} in {escape(str(output))}"
        f"{existing}{skipped}: {done.passages / done.seconds:,.0f} passages/s",
        soft_wrap=True,
    )
    shares = ", ".join(f"{stage} {seconds / done.seconds:.0%}" for stage, seconds in done.stage_seconds.items())
    console.print(f"busy, of {done.seconds:,.1f} s (the stages overlap): {shares}", style="dim", soft_wrap=True)


def _encode_file(
    console: Console, folder: str, file: str, format: str, output: Path, segments: str, on_error: str, how: Any
) -> None:
    """Encode all texts of a file, held in memory, into one array, float32 (n, dim), in their order."""
    kind = KINDS[open_exported_folder(folder).manifest.kind]
    check_choices(segments=segments, on_error=on_error)
    if kind is not CONTEXT and segments != SEGMENTS[0]:
        raise typer.BadParameter(f"--segments is for passages, and {folder} holds a {kind.name} model")
    if kind is READER:
        raise ValueError(f"{folder} holds a reader, which computes no vectors: use a question or context encoder")
    with atomic_file(output) as written:
        passages = _load_passages(file, format, on_error, _make_tell(console))
        start = time.perf_counter()
        texts = [each.text for each in passages]
        encoder_class: Any = DPRContextEncoder if kind is CONTEXT else DPRQuestionEncoder
        own = {"titles": [each.title for each in passages], "segments": segments} if kind is CONTEXT else {}
        with encoder_class.from_pretrained(folder, **how) as encoder:
            vectors = encoder.encode(texts, show_progress=console.is_terminal, **own)
        np.save(written, vectors, allow_pickle=False)
    rate = len(texts) / (time.perf_counter() - start)
    line = f"{count_of(len(texts), 'text')} to {escape(str(output))}"
    console.print(f"{line}: float32 {vectors.shape}, {rate:,.0f} texts/s", soft_wrap=True)


def _load_passages(file: str, format: str, on_error: str, tell: Callable[[str], None]) -> list[Passage]:
    """Load the texts of a file: one a line, unless its name says another format."""
    if format == "auto" and Path(file).suffix.lower() in _NOT_TEXTS:
        raise ValueError(f"{file} is not a list of texts: give a file with one text a line, .tsv, .jsonl or .parquet")
    if format == "auto":
        format = format_of(file, default=TEXT)
    if format != TEXT:
        return list(read_corpus(file, format, on_error=on_error, tell=tell))
    with open_text(file) as stream:
        return [Passage("", None, line.rstrip("\r\n")) for line in check_lines(cut_lines(stream), file)]


def _make_tell(console: Console) -> Callable[[str], None]:
    def tell(line: str) -> None:
        console.print(escape(line), style="yellow" if line.startswith((SKIPPED, NOTE)) else "dim", soft_wrap=True)

    return tell


def _parse_part(text: str) -> tuple[int, int]:
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise typer.BadParameter(f"--shard is {text!r}, and must be I/N, from 1/N to N/N")
    return int(index), int(count)
