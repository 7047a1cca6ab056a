"""Draw the results of the benchmarks for the README: python -m benchmarks.pictures

It reads benchmarks/results and writes docs/images. Axes are linear and start at zero where lengths are compared; each
panel has a scale of its own. dpr-export is blue and the others are grey.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.accuracy import TASKS
from benchmarks.cpu_parts import MIXED, TUNED
from benchmarks.harness.command import RESULTS_FOLDER
from benchmarks.harness.contenders import BASELINE, DOCUMENTED, OURS, OURS_ORT, STRONGEST, TORCH
from benchmarks.harness.tables import Results
from benchmarks.harness.workers import ROOT
from dpr_export.models.kinds import CONTEXT, QUESTION

PICTURES_FOLDER = ROOT / "docs" / "images"
WIDTH, COLOURS = 8.0, 64  # inches; a palette keeps the files small
BLUE, LIGHT_BLUE, GREY, LIGHT_GREY, INK = "#0072B2", "#56B4E9", "#B4BBC3", "#EEF0F2", "#2F363D"
STYLE: dict[Any, Any] = {
    **dict.fromkeys(("figure.constrained_layout.h_pad", "figure.constrained_layout.w_pad"), 0.08),
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("font.size", "legend.fontsize"), 9),
    "figure.constrained_layout.use": True,
    "axes.edgecolor": GREY,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "figure.dpi": 160,
}
FASTEST_TORCH = "the fastest of transformers' modes"
# The contenders' names in the pictures, and their colours.
LATENCY = {
    BASELINE.name: ("PyTorch (transformers)", GREY),
    FASTEST_TORCH: ("PyTorch, its fastest mode", GREY),
    "ONNX Runtime as traced": ("ONNX Runtime", GREY),
    DOCUMENTED.name: ("ONNX Runtime INT8", GREY),
    "CTranslate2 INT8": ("CTranslate2 INT8", GREY),
    STRONGEST.name: ("sentence-transformers INT8", GREY),
    OURS_ORT.name: ("dpr-export, ONNX Runtime INT8", LIGHT_BLUE),
    OURS.name: ("dpr-export, OpenVINO INT8", BLUE),
}
THROUGHPUT = {name: LATENCY[name] for name in (BASELINE.name, STRONGEST.name)}
THROUGHPUT |= {TUNED: ("the same, best batch size", GREY), OURS.name: LATENCY[OURS.name]}
VARIANTS = {  # colour and marker
    BASELINE.name: ("PyTorch fp32", GREY, "s"),
    "dpr-export onnxruntime fp32": ("ONNX Runtime fp32", LIGHT_BLUE, "o"),
    "dpr-export openvino fp32": ("OpenVINO fp32", LIGHT_BLUE, "D"),
    "dpr-export openvino bf16": ("OpenVINO bf16", LIGHT_BLUE, "^"),
    OURS_ORT.name: ("ONNX Runtime INT8", BLUE, "o"),
    OURS.name: ("OpenVINO INT8", BLUE, "D"),
}
TASK_TITLES = {"reader": "% of answers exactly right (reader)", "encoders": "% of passages found first (encoders)"}


class Panel(NamedTuple):
    """Bars of one scale: the length of each contender's bar, and the text beside it."""

    title: str
    bars: Mapping[str, tuple[float, str]]


def draw_latency(results: Results) -> Figure:
    """Milliseconds of an encoder's call, by shape."""
    kind = next(kind.name for kind in (QUESTION, CONTEXT) if kind.name in results["model-calls"])
    panels = []
    for shape, records in results["model-calls"][kind]["shapes"].items():
        modes = [records[mode.name] for mode in TORCH[1:] if "ms" in records[mode.name]]
        fastest = {FASTEST_TORCH: min(modes, key=lambda record: record["ms"])} if modes else {}
        panels.append(_make_panel(_describe(shape), records | fastest))
    title = "Time of one call, in milliseconds: shorter is better"
    return _draw_bars(title, f"BERT-base {kind} encoder on {_processor(results)}.", panels, LATENCY)


def draw_throughput(results: Results) -> Figure:
    """Texts a second, from strings to vectors: passages of mixed lengths, and exact lengths."""
    passages, lines = results["strings"]["passages"], results["strings"]["lines"]
    mixed = "{count:,} passages of {least:.0f} to {most:.0f} tokens".format(**passages, **passages["tokens"])
    panels = [_make_panel(mixed, lines[MIXED], passages["count"])]
    for shape in (shape for shape in ("1x16", "8x128", "16x256") if shape in lines):
        panels.append(_make_panel(_describe(shape), lines[shape], int(shape.partition("x")[0])))
    title = "Texts turned into vectors each second: longer is better"
    return _draw_bars(title, f"BERT-base context encoder on {_processor(results)}.", panels, THROUGHPUT)


def _make_panel(title: str, records: Results, texts: int | None = None) -> Panel:
    """Bars of milliseconds, or of texts a second where so many `texts` are encoded."""
    bars = {}
    for name, ms in ((name, record["ms"]) for name, record in records.items() if "ms" in record):
        value, unit = (1000 * texts / ms, "") if texts else (ms, " ms")
        bars[name] = (value, f"{_digits(value)}{unit}  {_digits(records[BASELINE.name]['ms'] / ms)}×")
    return Panel(title, bars)


def _describe(shape: str) -> str:
    """
    >>> _describe("1x16")
    'one text of 16 tokens'
    """
    texts, tokens = shape.split("x")
    return f"{'one text' if texts == '1' else texts + ' texts'} of {tokens} tokens"


def _digits(value: float) -> str:
    return f"{value:,.{1 if value < 100 else 0}f}"


def _processor(results: Results) -> str:
    return f"{results['about']['threads']} threads of {results['about']['processor'].partition(' (')[0]}"


def _draw_bars(title: str, subtitle: str, panels: Sequence[Panel], names: Mapping[str, tuple[str, str]]) -> Figure:
    """Panels in two columns, with the contenders' names at the left of each row."""
    shown = [key for key in names if any(key in panel.bars for panel in panels)]
    labels, colours = zip(*(names[key] for key in shown), strict=True)
    rows = -(-len(panels) // 2)
    figure = Figure((WIDTH, 0.9 + rows * (0.45 + 0.24 * len(shown))))
    _add_titles(figure, title, subtitle, "×: times as fast as PyTorch in float32. INT8: computed in 8-bit integers.")
    for axes, panel in zip(figure.subplots(rows, 2, sharey=True).flat, panels, strict=True):
        values, texts = zip(*(panel.bars.get(key, (0.0, "cannot run it")) for key in shown), strict=True)
        bars = axes.barh(labels, values, height=0.72, color=colours)
        axes.bar_label(bars, texts, padding=4, size=8.5)
        axes.set(title=panel.title, xlim=(0, max(values) * 1.4), xticks=[])
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(length=0)
    axes.invert_yaxis()
    return figure


def _add_titles(figure: Figure, title: str, *lines: str) -> None:
    figure.suptitle(title + "\n" * len(lines), x=0.01, ha="left")
    below = 1 - 0.31 / figure.get_figheight()
    figure.text(0.01, below, "\n".join(lines), ha="left", va="top", size=8.5, linespacing=1.3)


def draw_accuracy(results: Results) -> Figure:
    """The accuracy of each variant against its speed, a panel for each task."""
    count = results["data"]["questions"]
    figure = Figure((WIDTH, 4.2))
    band = f"Grey band: PyTorch in float32, plus or minus the standard error of {count} questions."
    title = "Right answers against speed: higher is better, further right is faster"
    _add_titles(figure, title, f"The demo models, small and trained, on {_processor(results)}.", band)
    for axes, task in zip(figure.subplots(1, len(TASKS)), TASKS, strict=True):
        rows, metric = results[task.name]["rows"], task.metrics[0]
        right, slowest = 100 * rows[BASELINE.name][metric], rows[BASELINE.name]["ms"]
        error = sqrt(right * (100 - right) / count)
        axes.margins(x=0.15)
        axes.axhspan(right - error, right + error, color=LIGHT_GREY, zorder=0)
        for name, (label, colour, marker) in VARIANTS.items():
            if "ms" in rows.get(name, {}):
                speed, share = slowest / rows[name]["ms"], 100 * rows[name][metric]
                axes.plot(speed, share, marker, markersize=9, color=colour, markeredgecolor="white", label=label)
                if label.endswith("fp32") and name != BASELINE.name:
                    continue  # the same share as PyTorch
                axes.annotate(f"{share:.1f}", (speed, share), (0, 8), textcoords="offset points", ha="center", size=8.5)
        axes.set(title=TASK_TITLES[task.name], xlabel="times as fast as PyTorch", ylim=(right - 5, right + 5))
        axes.set_xlim(left=0)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


PICTURES = {
    "latency": ("cpu", "model-calls", draw_latency),
    "throughput": ("cpu", "strings", draw_throughput),
    "accuracy": ("accuracy", "reader", draw_accuracy),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description="Draw the README's pictures.")
    parser.add_argument("--results", type=Path, default=RESULTS_FOLDER, help="the folder of results to draw")
    parser.add_argument("--output", type=Path, default=PICTURES_FOLDER, help="the folder of pictures to write")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    for name, (command, part, draw) in PICTURES.items():
        file, picture = given.results / f"{command}.json", given.output / f"{name}.png"
        results = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if part not in results or results["about"]["quick"]:
            print(f"{name}: {file} has no {part} of a full run: python -m benchmarks.{command} --save")
            continue
        with mpl.rc_context(STYLE):
            draw(results).savefig(png := BytesIO(), format="png")
        Image.open(png).convert("RGB").quantize(COLOURS).save(picture, optimize=True)
        print(f"{name}: {picture}, {picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
