"""The command `dpr-export`: export a checkpoint, add variants to an exported folder, or push one to the hub."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from dpr_export.exporter.export import default_output
from dpr_export.exporter.export import export as run_export
from dpr_export.exporter.hub.push import check_push, push
from dpr_export.exporter.options import DEFAULT_OPSET, OPSETS, ExportOptions
from dpr_export.exporter.progress import steps
from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import Manifest, is_exported_folder
from dpr_export.models.artifact.reference_outputs import ATOL
from dpr_export.models.artifact.variant_options import VariantOptions
from dpr_export.runtime.cli.options import Version
from dpr_export.runtime.cli.run_command import run_command
from dpr_export.runtime.cli.show_answers import human_size
from dpr_export.runtime.cli.show_manifest import show_table, show_variants
from dpr_export.runtime.engines.processors import SLOW_INT8, int8_products

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)
# Options in the panels of `--help`.
_VariantOption = partial(typer.Option, rich_help_panel="Variants")
_CheckpointOption = partial(typer.Option, rich_help_panel="Checkpoint")
_GraphOption = partial(typer.Option, rich_help_panel="Graphs")
_HubOption = partial(typer.Option, rich_help_panel="Push to the hub")
_PUSH_OPTIONS = {"source", "push_to_hub", "private", "token", "json"}


@app.command()
def export(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A checkpoint: its folder, its name on the Hugging Face hub, demo/question, demo/context or "
            "demo/reader, or a file of facebookresearch/DPR (.cp). Or an exported folder, to add variants to it or to "
            "push it.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="The folder to write.",
            show_default="./NAME-onnx, or ./NAME-KIND-onnx with --kind",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        _VariantOption(
            metavar="PRECISION",
            help="The precision of a variant to make: fp32 (always made), fp16 or int8. Repeat it for several.",
            show_default="fp32",
        ),
    ] = None,
    backend: Annotated[
        list[str] | None,
        _VariantOption(
            metavar="BACKEND",
            help="The engine to make variants for: onnxruntime, openvino or tensorrt. Repeat it for several.",
            show_default="onnxruntime and openvino",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        _VariantOption(
            help="Texts to calibrate int8 with: .jsonl or .tsv of question, title and text.",
            show_default="200 that come with dpr-export",
        ),
    ] = None,
    allow_loss: Annotated[
        bool,
        _VariantOption(
            "--allow-loss", help='Write a variant even if its metrics are below their bounds; "auto" never selects it.'
        ),
    ] = False,
    revision: Annotated[
        str | None, _CheckpointOption(help="The branch, tag or commit to read from the hub.", show_default=False)
    ] = None,
    token: Annotated[
        str | None, _CheckpointOption(help="The access token for the hub.", envvar="HF_TOKEN", show_default=False)
    ] = None,
    kind: Annotated[
        str | None,
        _CheckpointOption(
            help="The kind of the model: question, context or reader.", show_default="as the checkpoint says"
        ),
    ] = None,
    pooling: Annotated[
        str | None,
        _CheckpointOption(
            help="The vector of an encoder that is no DPR class: cls (the first token), pooler (BERT's, with tanh) or "
            "mean (all tokens).",
            show_default="as the checkpoint says, or cls",
        ),
    ] = None,
    tokenizer: Annotated[
        str | None,
        _CheckpointOption(
            help="The tokenizer: a folder, or a name on the hub.", show_default="the checkpoint's; a .cp file has none"
        ),
    ] = None,
    heads: Annotated[
        int | None,
        _CheckpointOption(help="For a .cp file: the number of attention heads.", show_default="hidden size / 64"),
    ] = None,
    opset: Annotated[
        int | None,
        _GraphOption(
            help=f"The ONNX operator set of the graphs, {OPSETS[0]} to {OPSETS[-1]}.", show_default=str(DEFAULT_OPSET)
        ),
    ] = None,
    atol: Annotated[
        float,
        _VariantOption(help="The absolute part of the tolerance of the parity check; 1e-5 x max|reference| is added."),
    ] = ATOL,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an exported folder that exists, or the variants that it has.")
    ] = False,
    output_hidden_states: Annotated[
        bool | None,
        _GraphOption(help="Whether the graphs return the hidden states.", show_default="as in config.json"),
    ] = None,
    output_attentions: Annotated[
        bool | None,
        _GraphOption(help="Whether the graphs return the attentions.", show_default="as in config.json"),
    ] = None,
    inputs_embeds: Annotated[
        bool,
        _GraphOption("--inputs-embeds", help="Also write model_embeds.onnx, which takes inputs_embeds for input_ids."),
    ] = False,
    push_to_hub: Annotated[
        str | None,
        _HubOption(
            metavar="REPO",
            help="Upload the folder to this repository on the hub, with a model card.",
            show_default=False,
        ),
    ] = None,
    private: Annotated[bool, _HubOption("--private", help="Make that repository private.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the manifest on standard output, and all else on standard error.")
    ] = False,
    _version: Version = False,
) -> None:
    """Export a DPR checkpoint to ONNX, check that it computes what PyTorch computes, and make faster variants."""
    if push_to_hub is not None:
        check_push(push_to_hub, token)
    elif private:
        raise typer.BadParameter("--private needs --push-to-hub")
    console = Console(stderr=json)
    folder = Path(source) if is_exported_folder(Path(source)) else output or default_output(source, kind)
    if _is_push_only(context):
        manifest = ExportedFolder.read(folder).manifest
    else:
        options = ExportOptions(
            precisions=precision or VariantOptions.precisions,
            backends=backend or VariantOptions.backends,
            calibration=calibration,
            atol=atol,
            allow_loss=allow_loss,
            force=force,
            revision=revision,
            token=token,
            kind=kind,
            pooling=pooling,
            tokenizer=tokenizer,
            heads=heads,
            opset=opset,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            inputs_embeds=inputs_embeds,
        )
        manifest = run_export(source, output, options, steps(Console(stderr=True)))
    show_export(manifest, folder, console)
    if json:
        print(manifest.to_json(), end="", flush=True)
    if push_to_hub is not None:
        name = push(folder, push_to_hub, private=private, token=token)
        console.print(f"pushed to [bold]{escape(name)}[/] on the hub", highlight=False, soft_wrap=True)


def _is_push_only(context: typer.Context) -> bool:
    """Whether an exported folder is to be pushed as it is: no option of an export is given."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    return "push_to_hub" in given and given <= _PUSH_OPTIONS and is_exported_folder(Path(context.params["source"]))


def show_export(manifest: Manifest, folder: Path, console: Console) -> None:
    """Print the results of an export: parity, accuracy drop, and files."""
    console.print()
    show_variants(console, manifest)
    if int8_products() is False and any(variant.precision == "int8" for variant in manifest.variants):
        console.print(f"[yellow]note:[/] {SLOW_INT8}", highlight=False, soft_wrap=True)
    files = [[name, human_size(record.bytes)] for name, record in manifest.files.items()]
    console.print()
    show_table(console, ["file", "size"], files, right=(1,))
    console.print(f"\nwritten to [bold]{escape(str(folder))}[/]", highlight=False, soft_wrap=True)


def main() -> None:
    """The entry point: errors end in one line and exit code 1, wrong usage in exit code 2."""
    run_command(app, "dpr-export")
