"""The command `dpr-export`: arguments in, the proof and the files out, for people or as JSON."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dpr_export.exporter.export import DEFAULT_OPSET, DEFAULT_PRECISIONS, OPSETS, default_output
from dpr_export.exporter.export import export as make
from dpr_export.exporter.hub.push import check_push, push
from dpr_export.exporter.progress import steps
from dpr_export.models.artifact.atomic_writing import is_exported
from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import Manifest
from dpr_export.models.artifact.reference_outputs import ATOL
from dpr_export.models.artifact.variants import DEFAULT_BACKENDS
from dpr_export.runtime.cli.run_command import run_command
from dpr_export.runtime.cli.show_answers import human_size
from dpr_export.runtime.cli.show_manifest import show_variants
from dpr_export.runtime.engines.processors import SLOW_INT8, int8_products

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)


_OF_A_PUSH = {"source", "push_to_hub", "private", "token", "json"}


@app.command()
def export(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            help="A checkpoint's folder, demo/question, demo/context, demo/reader, or a name on the Hugging Face hub; "
            "or an exported folder, to add variants to it, or to push it; or a file of the first DPR code (.cp).",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="The folder to write.", show_default="./NAME-onnx; of a .cp ./NAME-KIND-onnx"
        ),
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
    kind: Annotated[
        str | None,
        typer.Option(
            help="Of a file of the first DPR code: which model, question, context or reader.", show_default=False
        ),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="Of such a file: the folder of its tokenizer.json or vocab.txt.", show_default=False),
    ] = None,
    heads: Annotated[
        int | None,
        typer.Option(help="Of such a file: the number of attention heads.", show_default="hidden size / 64"),
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
    output_hidden_states: Annotated[
        bool | None,
        typer.Option(help="Whether the graph gives every layer's hidden states.", show_default="as its config.json"),
    ] = None,
    output_attentions: Annotated[
        bool | None,
        typer.Option(help="Whether the graph gives every layer's attentions.", show_default="as its config.json"),
    ] = None,
    inputs_embeds: Annotated[
        bool, typer.Option("--inputs-embeds", help="Also write model_embeds.onnx, which takes embeddings for ids.")
    ] = False,
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            metavar="REPO", help="Then upload the folder to this repository, with a model card.", show_default=False
        ),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make that repository a private one.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the manifest on standard output, all else on standard error.")
    ] = False,
) -> None:
    """Turn a DPR checkpoint into ONNX graphs that are proved equal to the original, and faster variants of them."""
    if push_to_hub is not None:
        check_push(push_to_hub, token)
    elif private:
        raise typer.BadParameter("--private is given without --push-to-hub")
    console = Console(stderr=json)
    folder = Path(source) if is_exported(Path(source)) else output or default_output(source, kind)
    manifest = _as_it_is(context, folder) or make(
        source,
        output,
        precisions=precision or DEFAULT_PRECISIONS,
        backends=backend or DEFAULT_BACKENDS,
        calibration=calibration,
        allow_loss=allow_loss,
        revision=revision,
        token=token,
        kind=kind,
        tokenizer=tokenizer,
        heads=heads,
        opset=opset,
        atol=atol,
        force=force,
        output_hidden_states=output_hidden_states,
        output_attentions=output_attentions,
        inputs_embeds=inputs_embeds,
        step=steps(Console(stderr=True)),
    )
    report(manifest, folder, console)
    if json:
        print(manifest.to_json(), end="", flush=True)
    if push_to_hub is not None:
        name = push(folder, push_to_hub, private=private, token=token)
        console.print(f"on the hub as [bold]{escape(name)}[/]", highlight=False, soft_wrap=True)


def _as_it_is(context: typer.Context, folder: Path) -> Manifest | None:
    """The manifest of an exported folder that is only to be pushed; None where there is something to make."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    if "push_to_hub" not in given or given - _OF_A_PUSH or not is_exported(Path(context.params["source"])):
        return None
    return ExportedFolder.read(folder).manifest


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


def main() -> None:
    """The entry point: errors end in one line and exit code 1, wrong usage in exit code 2."""
    run_command(app, "dpr-export")
