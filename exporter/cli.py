"""The command `dpr-export`: arguments in, the proof and the files out, for people or as JSON."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dpr_export.exporter.export import DEFAULT_OPSET, DEFAULT_PRECISIONS, OPSETS, default_output
from dpr_export.exporter.export import export as make
from dpr_export.exporter.progress import steps
from dpr_export.models.folder import is_exported
from dpr_export.models.golden import ATOL
from dpr_export.models.manifest import Manifest
from dpr_export.models.variants import DEFAULT_BACKENDS
from dpr_export.runtime.commands import run_command
from dpr_export.runtime.processors import int8_products
from dpr_export.runtime.selection import SLOW_INT8
from dpr_export.runtime.show_manifest import show_variants

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)


@app.command()
def export(
    source: Annotated[
        str,
        typer.Argument(
            help="A checkpoint's folder, demo/question, demo/context, demo/reader, or a name on the Hugging Face hub; "
            "or an exported folder, to add variants to it.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder to write.", show_default="./NAME-onnx")
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="What to make: fp32 (always made), fp16, int8; may be repeated.", show_default="fp32"),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help="For which engine: onnxruntime, openvino, tensorrt; may be repeated.",
            show_default="onnxruntime, openvino",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Texts to calibrate INT8 with: .jsonl or .tsv of question, title and text.",
            show_default="200 that come with dpr-export",
        ),
    ] = None,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Write a variant even if it loses more than its bounds allow.")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="The hub's branch, tag or commit.", show_default=False)] = None,
    token: Annotated[
        str | None, typer.Option(help="The hub's access token.", envvar="HF_TOKEN", show_default=False)
    ] = None,
    opset: Annotated[
        int | None,
        typer.Option(help=f"The ONNX operator set, {OPSETS[0]} to {OPSETS[-1]}.", show_default=str(DEFAULT_OPSET)),
    ] = None,
    atol: Annotated[
        float, typer.Option(help="The largest difference to PyTorch allowed, beside 1e-5 x max|reference|.")
    ] = ATOL,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an exported folder that exists, or variants that it holds.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the manifest on standard output, all else on standard error.")
    ] = False,
) -> None:
    """Turn a DPR checkpoint into ONNX graphs that are proved equal to the original, and faster variants of them."""
    console = Console(stderr=json)
    manifest = make(
        source,
        output,
        precisions=precision or DEFAULT_PRECISIONS,
        backends=backend or DEFAULT_BACKENDS,
        calibration=calibration,
        allow_loss=allow_loss,
        revision=revision,
        token=token,
        opset=opset,
        atol=atol,
        force=force,
        step=steps(Console(stderr=True)),
    )
    report(manifest, Path(source) if is_exported(Path(source)) else output or default_output(source), console)
    if json:
        print(manifest.to_json(), end="")


def report(manifest: Manifest, folder: Path, console: Console) -> None:
    """Print what was made, and what was shown of it."""
    console.print()
    show_variants(console, manifest)
    if int8_products() is False and any(variant.precision == "int8" for variant in manifest.variants):
        console.print(f"[yellow]note:[/] {SLOW_INT8}", highlight=False, soft_wrap=True)
    table = Table("file", "size", box=None, header_style="dim", pad_edge=False)
    table.columns[1].justify = "right"
    for name, record in manifest.files.items():
        table.add_row(escape(name), human_size(record.bytes))
    console.print()
    console.print(table, highlight=False)
    console.print(f"\nin [bold]{escape(str(folder))}[/]", highlight=False, soft_wrap=True)


def human_size(size: int) -> str:
    """A size for people.

    >>> human_size(90_500_000), human_size(711), human_size(45_200)
    ('90.5 MB', '711 B', '45.2 kB')
    """
    if size >= 1_000_000:
        return f"{size / 1e6:.1f} MB"
    return f"{size / 1e3:.1f} kB" if size >= 1000 else f"{size} B"


def main() -> None:
    """The entry point: errors end in one line and exit code 1, wrong usage in exit code 2."""
    run_command(app, "dpr-export")
