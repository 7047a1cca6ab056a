"""Draw the benchmarks' results for the README: python -m benchmarks.pictures

It reads what `--save` wrote into benchmarks/results and writes three pictures into benchmarks/pictures, for people who
have not heard of the project before: how long a call takes, how many texts a second become vectors, and what the speed
costs in right answers.

Scales of bars are linear and begin at zero, since a logarithm would hide the ratios that the bars are there to show;
each panel has a scale of its own. Ours is blue and the others are grey: nobody is blind to that difference.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import sqrt
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from benchmarks.contenders import BASELINE, DOCUMENTED, OURS, OURS_ORT, STRONGEST, TORCH
from benchmarks.loss import TASKS
from benchmarks.parts import TUNED

HERE = Path(__file__).parent
WIDTH, DPI, COLOURS = 8.0, 160, 64  # inches, of which a page shows 800 pixels; a palette keeps the files small
BLUE, LIGHT_BLUE, GREY, LIGHT_GREY, INK = "#0072B2", "#56B4E9", "#B4BBC3", "#EEF0F2", "#2F363D"
STYLE: dict[Any, Any] = {
    **dict.fromkeys(("figure.constrained_layout.h_pad", "figure.constrained_layout.w_pad"), 0.08),
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    "axes.edgecolor": GREY,
    "font.size": 9,
    "figure.dpi": DPI,
}
BEST_TORCH = "the best of torch's modes"
# What the contenders are called in the pictures, and their colours.
LATENCY = {
    BASELINE.name: ("PyTorch (transformers)", GREY),
    BEST_TORCH: ("PyTorch, its fastest mode", GREY),
    "ONNX Runtime as traced": ("ONNX Runtime", GREY),
    DOCUMENTED.name: ("ONNX Runtime INT8", GREY),
    "CTranslate2 INT8": ("CTranslate2 INT8", GREY),
    STRONGEST.name: ("sentence-transformers INT8", GREY),
    OURS_ORT.name: ("dpr-export, ONNX Runtime INT8", LIGHT_BLUE),
    OURS.name: ("dpr-export, OpenVINO INT8", BLUE),
}
THROUGHPUT = {name: LATENCY[name] for name in (BASELINE.name, STRONGEST.name)}
THROUGHPUT |= {TUNED: ("the same, best batch size", GREY), OURS.name: LATENCY[OURS.name]}
_RISES = tuple(sign * rise for rise in range(18, 90, 14) for sign in (1, -1))  # of a name, in points
_SIDES = {"left": 0.0, "center": 0.5, "right": 1.0}  # of a name, where its line ends
FOR_GPUS = "dpr-export onnxruntime fp16"
RIGHT = {"reader": "% of answers exactly right (reader)", "encoders": "% of passages found first (encoders)"}
ENGINES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
Records = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars of one scale."""

    title: str
    bars: Mapping[str, tuple[float, str]]  # contender's name: its value, and what is written beside its bar


def latency(results: Records) -> Figure:
    """Milliseconds of a question encoder's call, by shape."""
    panels = []
    for shape, records in results["model-calls"]["question"]["shapes"].items():
        times = {name: record["ms"] for name, record in records.items() if "ms" in record}
        if modes := [times[mode.name] for mode in TORCH[1:] if mode.name in times]:
            times[BEST_TORCH] = min(modes)
        bars = {name: (ms, f"{_digits(ms)} ms{_times(times[BASELINE.name] / ms)}") for name, ms in times.items()}
        panels.append(Panel(_texts(shape), bars))
    title = "Time of one call, in milliseconds: shorter is better"
    return _bars(title, f"BERT-base question encoder on {_processor(results)}.", panels, LATENCY)


def throughput(results: Records) -> Figure:
    """Texts a second, from strings to vectors: passages of mixed lengths, and three lengths alone."""
    passages, panels = results["strings"]["passages"], []
    mixed = "{count:,} passages of {least:.0f} to {most:.0f} tokens".format(**passages, **passages["tokens"])
    lines = {"mixed": (passages["count"], mixed)}
    lines |= {shape: (int(shape.partition("x")[0]), _texts(shape)) for shape in ("1x16", "8x128", "16x256")}
    for line, (texts, title) in lines.items():
        records = results["strings"]["lines"][line]
        rates = {name: 1000 * texts / record["ms"] for name, record in records.items() if "ms" in record}
        bars = {name: (rate, f"{_digits(rate)}{_times(rate / rates[BASELINE.name])}") for name, rate in rates.items()}
        panels.append(Panel(title, bars))
    title = "Texts turned into vectors each second: longer is better"
    return _bars(title, f"BERT-base context encoder on {_processor(results)}.", panels, THROUGHPUT)


def _texts(shape: str) -> str:
    """
    >>> _texts("1x16")
    'one text of 16 tokens'
    """
    texts, tokens = shape.split("x")
    return f"{'one text' if texts == '1' else texts + ' texts'} of {tokens} tokens"


def _digits(value: float) -> str:
    return f"{value:,.{1 if value < 100 else 0}f}"


def _times(ratio: float) -> str:
    return "" if ratio == 1 else f"  {_digits(ratio)}×"


def _weight(ours: bool) -> str:
    return "bold" if ours else "normal"


def _processor(results: Records) -> str:
    return f"{results['about']['threads']} threads of {results['about']['processor'].partition(' (')[0]}"


def _bars(title: str, subtitle: str, panels: Sequence[Panel], names: Mapping[str, tuple[str, str]]) -> Figure:
    """Panels in two columns, with the contenders' names at the left of each row."""
    shown = {key: name for key, name in names.items() if any(key in panel.bars for panel in panels)}
    rows = -(-len(panels) // 2)
    figure = Figure((WIDTH, 0.9 + rows * (0.45 + 0.24 * len(shown))), layout="constrained")
    _titles(figure, title, subtitle, "×: times as fast as PyTorch in float32. INT8: computed in 8-bit integers.")
    for axes, panel in zip(figure.subplots(rows, 2, sharey=True).flat, panels, strict=True):
        most = max(panel.bars[key][0] for key in shown if key in panel.bars)
        for place, (key, (_, colour)) in enumerate(shown.items()):
            value, text = panel.bars.get(key, (0.0, "cannot run it"))
            axes.barh(place, value, height=0.72, color=colour)
            axes.text(value + most * 0.02, place, text, va="center", weight=_weight(colour == BLUE), size=8.5)
        axes.set_title(panel.title, loc="left", size=9.5, weight="bold")
        axes.set(xlim=(0, most * 1.35), ylim=(len(shown) - 0.5, -0.5), xticks=[])
        axes.set_yticks(range(len(shown)), [name for name, _ in shown.values()])
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(length=0)
        for label, (_, colour) in zip(axes.get_yticklabels(), shown.values(), strict=False):
            label.set_weight(_weight(colour == BLUE))
    return figure


def _titles(figure: Figure, title: str, *lines: str) -> None:
    figure.suptitle(title + "\n" * len(lines), x=0.01, ha="left", size=12, weight="bold")
    below = 1 - 0.31 / figure.get_figheight()
    figure.text(0.01, below, "\n".join(lines), ha="left", va="top", size=8.5, linespacing=1.3)


def loss(results: Records) -> Figure:
    """Right answers against speed, a panel a task."""
    figure, count = Figure((WIDTH, 4.0), layout="constrained"), results["data"]["questions"]
    band = f"Grey band: PyTorch in float32, give or take the standard error that {count} questions carry."
    title = "Right answers against speed: higher is better, further right is faster"
    _titles(figure, title, f"The demo models, small and trained, on {_processor(results)}.", band)
    drawn = []
    for axes, task in zip(figure.subplots(1, len(TASKS)), TASKS, strict=True):
        rows = {name: row for name, row in results[task.name]["rows"].items() if "ms" in row and name != FOR_GPUS}
        right, ms = 100 * rows[BASELINE.name][task.metrics[0]], rows[BASELINE.name]["ms"]
        error = sqrt(right * (100 - right) / count)
        points = {name: (ms / row["ms"], 100 * row[task.metrics[0]]) for name, row in rows.items()}
        reach = max(2.6 * error, *(1.5 * abs(share - right) for _, share in points.values()))
        axes.axhspan(right - error, right + error, color=LIGHT_GREY, zorder=0)
        axes.set(xlim=(0, 1.4 * max(speed for speed, _ in points.values())), ylim=(right - reach, right + reach))
        axes.set_title(RIGHT[task.name], loc="left", size=9.5, weight="bold")
        axes.set_xlabel("times as fast as PyTorch")
        for name, point in points.items():
            colour = GREY if name == BASELINE.name else BLUE if name.endswith("int8") else LIGHT_BLUE
            axes.plot(*point, "o", markersize=9, color=colour, markeredgecolor="white", zorder=3)
        drawn.append((axes, points))
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()  # lays the panels out, so that labels can be placed
    for axes, points in drawn:
        _label(axes, points, canvas.get_renderer())
    return figure


def _label(axes: Axes, points: Mapping[str, tuple[float, float]], renderer: Any) -> None:
    """Write each point's name beside it, or above or below it at the end of a line; names never lie on names, and lines
    only where there is no other way."""
    inside, places = axes.get_window_extent(), axes.transData.transform(list(points.values()))
    taken = [Bbox.from_bounds(x - 9, y - 9, 18, 18) for x, y in places]
    lines = [(0, rise, side, crossing) for crossing in (False, True) for rise in _RISES for side in _SIDES]
    for (name, point), (x, y) in sorted(zip(points.items(), places, strict=True), key=lambda item: -item[1][0]):
        engine, _, precision = name.removeprefix("dpr-export ").rpartition(" ")
        text = "PyTorch" if name == BASELINE.name else f"{ENGINES[engine]} {precision.replace('int8', 'INT8')}"
        for shift, rise, side, crossing in ((9, 0, "left", False), *lines):
            line = {"arrowstyle": "-", "color": GREY, "relpos": (_SIDES[side], float(rise < 0)), "shrinkA": 1}
            note = axes.annotate(
                f"{text}  {point[1]:.1f}",
                point,
                (shift, rise),
                textcoords="offset points",
                ha=side,
                va="center",
                size=8.5,
                weight=_weight(precision == "int8"),
                arrowprops=line if rise else None,
            )
            note.update_positions(renderer)
            box = Text.get_window_extent(note, renderer).padded(2)  # of the words alone
            low, high = (y + 12, box.y1) if rise > 0 else (box.y0, y - 12)
            needed = [box] if crossing or not rise else [box, Bbox([[x - 1, low], [x + 1, high]])]
            within = inside.contains(*box.min) and inside.contains(*box.max)
            if within and not any(one.overlaps(other) for one in needed for other in taken):
                taken += needed
                break
            note.remove()


PICTURES: dict[str, tuple[str, str, Callable[[Records], Figure]]] = {
    "latency": ("cpu", "model-calls", latency),
    "throughput": ("cpu", "strings", throughput),
    "accuracy_drop": ("accuracy_drop", "reader", loss),
}


def save(figure: Figure, path: Path) -> None:
    """Write a PNG of few colours."""
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pictures", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--results", type=Path, default=HERE / "results", help="the folder of results to draw")
    parser.add_argument("--output", type=Path, default=HERE / "pictures", help="the folder of pictures to write")
    given = parser.parse_args()
    for name, (command, part, draw) in PICTURES.items():
        path = given.results / f"{command}.json"
        results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if part not in results:
            print(f"{name}: {path.name} has no {part}: python -m benchmarks.{command} --save")
        elif results["about"]["quick"]:
            print(f"{name}: {path.name} is of a quick run, which says nothing: python -m benchmarks.{command} --save")
        else:
            given.output.mkdir(parents=True, exist_ok=True)
            with mpl.rc_context(STYLE):
                save(draw(results), given.output / f"{name}.png")
            print(f"{name}: {given.output / name}.png, {(given.output / f'{name}.png').stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
