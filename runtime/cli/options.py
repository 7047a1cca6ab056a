"""The arguments and options that commands share."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[
    str, typer.Argument(metavar="DIR", help="The exported folder, or its name on the hub.", show_default=False)
]
LocalFolder = Annotated[Path, typer.Argument(metavar="DIR", help="The exported folder.", show_default=False)]
Backend = Annotated[str, typer.Option(help="The backend to run on: openvino, onnxruntime, tensorrt.")]
Device = Annotated[str, typer.Option(help="Where to run: cpu, cuda, cuda:1; auto prefers a GPU.")]
Precision = Annotated[str, typer.Option(help="The precision to run: int8, fp32, fp16; bf16 runs fp32 in bfloat16.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="The number of CPU threads.", show_default="as many as there are processors")
]
Match = Annotated[
    str,
    typer.Option(
        help="How passages are matched with answers: string, or regex if they are regular expressions (CuratedTREC)."
    ),
]
Normalize = Annotated[
    bool, typer.Option("--normalize-questions", help="Write ’ as ' in questions, as facebookresearch/DPR does.")
]


def _print_version(context: typer.Context, is_given: bool) -> None:
    if is_given:
        typer.echo(f"{context.find_root().info_name} {version('dpr-export')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and exit."),
]
