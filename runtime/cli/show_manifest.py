"""What both commands print of an exported folder: what was shown of each variant, and the files."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dpr_export.models.artifact.manifest import AccuracyDrop, Manifest, Variant
from dpr_export.models.artifact.variants import BOUNDS
from dpr_export.runtime.cli.show_answers import plain, printable

# What the gate's metrics are called for people.
LABELS = {
    "mean_cosine": "mean cosine",
    "least_cosine": "least cosine",
    "top1": "top-1",
    "top10": "top-10",
    "least_cosine_alone": "alone, cosine",
    "same_passage": "same passage",
    "same_span": "same span",
    "f1": "F1",
    "same_span_alone": "alone, same span",
}
LEGEND = (
    "What is kept of fp32, on texts that were not calibrated with. alone: the same text alone and in a batch.\n"
    "speed: times as fast as model.onnx on the same engine, one text of 128 tokens."
)


def show_manifest(console: Console, manifest: Manifest) -> None:
    """Print a manifest: what was shown of each variant, and the files."""
    revision = f" at {manifest.source.revision}" if manifest.source.revision else ""
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    for text, style in (
        (f"{manifest.kind}, exported from {manifest.source.name}{revision}", "bold"),
        (f"weights SHA-256 {manifest.source.sha256}", "dim"),
        (f"opset {manifest.opset}; made by {versions}\n", "dim"),
    ):
        console.print(Text(printable(text.rstrip()), style=style))
    console.print()
    show_variants(console, manifest)
    files = Table("file", "bytes", "SHA-256", box=None, pad_edge=False)
    files.columns[1].justify = "right"
    for name, record in manifest.files.items():
        files.add_row(plain(name), f"{record.bytes:,}", plain(record.sha256[:16]))
    console.print()
    console.print(files, highlight=False)


def show_variants(console: Console, manifest: Manifest) -> None:
    """Print how variants were proved equal, and a table of what the others keep, with the bounds."""
    for variant in manifest.variants:
        if variant.parity and not variant.verified:
            console.print(
                f"[bold]{plain(variant.file)}[/] for {plain(variant.backend)}: not compared on a GPU yet",
                highlight=False,
                soft_wrap=True,
            )
        elif proof := variant.parity:
            shapes = ", ".join(f"{batch}x{length}" for batch, length in proof.shapes)
            faster = f"; {variant.speedup:.2f} times as fast as model.onnx" if variant.speedup else ""
            console.print(
                f"[bold]{plain(variant.file)}[/] equals PyTorch: largest difference {proof.largest_error:.1e}, "
                f"{proof.share_of_tolerance:.1%} of what is allowed{faster}\n"
                f"  checked at batch x sequence {shapes}, by {plain(proof.engine)}",
                highlight=False,
                soft_wrap=True,
            )
    if lossy := [(variant, variant.accuracy_drop) for variant in manifest.variants if variant.accuracy_drop]:
        console.print()
        console.print(_table(lossy), highlight=False)
        console.print(LEGEND, style="dim", highlight=False, soft_wrap=True)
        for variant, loss in lossy:
            console.print(f"[bold]{plain(variant.file)}[/]: {plain(loss.settings)}", highlight=False, soft_wrap=True)
            if not variant.verified:
                console.print(f"  not picked by itself: {plain(_why_not(loss))}", highlight=False, soft_wrap=True)


def _table(lossy: list[tuple[Variant, AccuracyDrop]]) -> Table:
    names = list(dict.fromkeys(name for _, loss in lossy for name in loss.metrics))
    table = Table("", *(LABELS.get(name, name) for name in names), "speed", box=None, pad_edge=False)
    for variant, loss in lossy:
        table.add_row(
            plain(f"{variant.backend} {variant.precision}"),
            *(_figure(loss, name) for name in names),
            f"{variant.speedup:.2f}x" if variant.speedup else "-",
        )
    table.add_row("at least", *(f"{BOUNDS[name]:.2f}" if name in BOUNDS else "-" for name in names), "", style="dim")
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _figure(loss: AccuracyDrop, name: str) -> str:
    if name not in loss.metrics:
        return "-"
    shown = f"{loss.metrics[name]:.3f}"
    return f"[red]{shown}[/]" if name in loss.below_bound else shown


def _why_not(loss: AccuracyDrop) -> str:
    if loss.below_bound:
        return f"{', '.join(LABELS.get(name, name) for name in loss.below_bound)} below the bound"
    return f"not compared on the device that it is for, where naming that device runs it; metrics by {loss.engine}"
