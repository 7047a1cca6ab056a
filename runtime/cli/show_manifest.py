"""Print what both commands show of an exported folder: the results of its checks, and its files.

The rows of the tables are plain text, since a model card has them too.
"""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dpr_export.models.artifact.manifest import AccuracyDrop, Manifest, Variant
from dpr_export.models.artifact.variants import BOUNDS
from dpr_export.runtime.cli.show_answers import printable

# How the metrics of the accuracy drop are called in tables.
LABELS = {
    "mean_cosine": "mean cosine",
    "least_cosine": "least cosine",
    "top1": "top-1",
    "top10": "top-10",
    "least_cosine_alone": "cosine alone",
    "same_passage": "same passage",
    "same_span": "same span",
    "f1": "F1",
    "same_span_alone": "span alone",
}
PARITY_HEAD = ("file", "backend", "largest difference", "of tolerance", "speed", "checked with", "batch x sequence")
LOW = " (low)"
ACCURACY_LEGEND = (
    "Metrics compare with fp32 on the evaluation set: 1 means no loss, and (low) is below the bound.\n"
    "top-k: how many of a text's k nearest neighbours stay; alone: a text alone and in a padded batch.\n"
    "speed: relative to model.onnx on the same engine, with one text of 128 tokens."
)


def parity_rows(manifest: Manifest) -> list[list[str]]:
    """One row under `PARITY_HEAD` for each variant that was checked against PyTorch."""
    return [
        [
            variant.file,
            variant.backend,
            f"{parity.largest_error:.1e}",
            f"{parity.share_of_tolerance:.1%}",
            _speed(variant),
            parity.engine if variant.verified else f"{parity.engine}, not on {variant.backend} yet",
            ", ".join(f"{batch}x{length}" for batch, length in parity.shapes),
        ]
        for variant in manifest.variants
        if (parity := variant.parity)
    ]


def absent_weights(manifest: Manifest) -> list[str]:
    """One line for each graph and reason: the weights that the graph lacks without effect."""
    lines = []
    for graph, reasons in manifest.absent_weights.items():
        for reason in dict.fromkeys(reasons.values()):
            names = ", ".join(name for name, why in reasons.items() if why == reason)
            lines.append(f"{graph} lacks without effect: {names} ({reason})")
    return lines


def accuracy_rows(manifest: Manifest) -> list[list[str]]:
    """The head, one row for each lossy variant, and the bounds as the last row; empty if no variant is lossy."""
    lossy = _lossy(manifest)
    if not lossy:
        return []
    names = list(dict.fromkeys(name for _, drop in lossy for name in drop.metrics))
    return [
        ["variant", *(LABELS.get(name, name) for name in names), "speed"],
        *([_name(v), *(_metric(drop, name) for name in names), _speed(v)] for v, drop in lossy),
        ["at least", *(f"{BOUNDS[name]:.2f}" if name in BOUNDS else "-" for name in names), ""],
    ]


def show_manifest(console: Console, manifest: Manifest) -> None:
    """Print a manifest: the source, the results of the checks, and the files."""
    revision = f" at {manifest.source.revision}" if manifest.source.revision else ""
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    for text, style in (
        (f"{manifest.kind}, exported from {manifest.source.name}{revision}", "bold"),
        (f"weights SHA-256 {manifest.source.sha256}", "dim"),
        (f"opset {manifest.opset}; made by {versions}", "dim"),
    ):
        console.print(Text(printable(text), style=style))
    if manifest.similarity != "inner_product":
        console.print(f"vectors are compared by {manifest.similarity}")
    console.print()
    show_variants(console, manifest)
    files = [[name, f"{record.bytes:,}", record.sha256[:16]] for name, record in manifest.files.items()]
    console.print()
    show_table(console, ["file", "bytes", "SHA-256"], files, right=(1,))


def show_variants(console: Console, manifest: Manifest) -> None:
    """Print the parity check of each fp32 variant, and the accuracy drop of each lossy one."""
    rows = parity_rows(manifest)
    if rows:
        show_table(console, PARITY_HEAD[:5], [row[:5] for row in rows], right=(2, 3, 4))
        sizes = "; ".join(dict.fromkeys(row[6] for row in rows))
        engines = "; ".join(dict.fromkeys(row[5] for row in rows))
        _note(console, f"Compared with PyTorch at batch x sequence {sizes}\nwith {engines}")
        _note(console, "\n".join(absent_weights(manifest)))
    if not (accuracy := accuracy_rows(manifest)):
        return
    if rows:
        console.print()
    show_table(console, accuracy[0], accuracy[1:], right=range(1, len(accuracy[0])))
    _note(console, ACCURACY_LEGEND)
    for variant, drop in _lossy(manifest):
        line = Text.assemble((printable(variant.file), "bold"), f": {printable(drop.settings)}")
        console.print(line, soft_wrap=True)
        if not variant.verified:
            console.print(Text(f"  never selected by auto: {printable(_reason(drop))}"), soft_wrap=True)


def show_table(console: Console, head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Print rows of text under a head; the columns whose indices `right` holds are aligned to the right."""
    table = Table(*head, box=None, header_style="dim", pad_edge=False)
    table.columns[0].no_wrap = True
    for index in right:
        table.columns[index].justify = "right"
    for row in rows:
        table.add_row(*(Text(printable(cell), style="red" if cell.endswith(LOW) else "") for cell in row))
    console.print(table, highlight=False)


def _note(console: Console, text: str) -> None:
    for line in text.splitlines():
        console.print(Text(printable(line), style="dim"), highlight=False, soft_wrap=True)


def _lossy(manifest: Manifest) -> list[tuple[Variant, AccuracyDrop]]:
    return [(variant, variant.accuracy_drop) for variant in manifest.variants if variant.accuracy_drop]


def _name(variant: Variant) -> str:
    return f"{variant.backend} {variant.precision}"


def _speed(variant: Variant) -> str:
    return f"{variant.speedup:.2f}x" if variant.speedup else "-"


def _metric(drop: AccuracyDrop, name: str) -> str:
    if name not in drop.metrics:
        return "-"
    return f"{drop.metrics[name]:.3f}" + (LOW if name in drop.below_bound else "")


def _reason(drop: AccuracyDrop) -> str:
    if drop.below_bound:
        return f"{', '.join(LABELS.get(name, name) for name in drop.below_bound)} below the bound"
    return f"its metrics were measured with {drop.engine}, not on its device, where it runs if that device is named"
