"""Make the variants of an exported model: each by its recipe, each shown on the engine that runs it.

What is equal to the original is proved over the grid of `runtime/checks/parity.py`. What is lossy must give finite
numbers there, whatever is masked, and keep its bounds on texts that it was not calibrated with; a recipe may try
several settings until one does.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from dpr_export.models.artifact.manifest import AccuracyDrop, Variant
from dpr_export.models.artifact.reference_outputs import Example
from dpr_export.models.artifact.variants import BOUNDS, MODEL_FILE, VariantSpec, metrics_below_bound
from dpr_export.models.kinds import Kind
from dpr_export.quantization.errors import QuantizationError
from dpr_export.quantization.gate import Gate, Metrics, tokenized
from dpr_export.quantization.recipes import RECIPES, Made, Settings
from dpr_export.quantization.speed import speedup
from dpr_export.quantization.texts import EVALUATION_SET_FILE, Texts, read_texts
from dpr_export.runtime.checks.parity import check_parity, measure_errors, measure_relative_error
from dpr_export.runtime.engines.nvidia.driver import gpu_problem
from dpr_export.runtime.engines.processors import usable_processors
from dpr_export.runtime.engines.session import Feeds, Session, open_session
from dpr_export.runtime.inference.progress import Step, silent

WORTH_KEEPING = 1.03
REFERENCE = "onnxruntime"


@dataclass(frozen=True)
class Maker:
    """Makes variants of one folder.

    Attributes:
        kind: the kind of model.
        folder: holds the configuration, the tokenizer and `model.onnx`; new graphs are written there too.
        grid: calls of many sizes, with the outputs that are right.
        golden: the examples of reference_outputs.npz.
        calibration: the texts that scales are measured on.
        atol: the absolute part of the error allowed to what is not lossy.
        allow_loss: write a variant that misses a bound too, and say so in the manifest.
        step: told of each step.
        reference_error: how far the outputs of `grid` may be from the original's.
    """

    kind: Kind
    folder: Path
    grid: Sequence[Example]
    golden: Sequence[Example]
    calibration: Texts
    atol: float
    allow_loss: bool = False
    step: Step = silent
    reference_error: float = 0.0

    def make(self, spec: VariantSpec, output: Path) -> Variant | None:
        """Write one variant's graph at `output`, unless it is `model.onnx` itself, and show what it is.

        Returns:
            The variant; None where it is of no use (a fused graph that is no faster), and then nothing is written.

        Raises:
            ParityError: it does not compute what the original does.
            QuantizationError: it cannot be made, or loses more than its bounds allow.
        """
        if spec.lossy:
            return self._lossy(spec, output)
        prove_it = f"prove {spec.file} {'on' if _place(spec) else 'for'} {spec.backend}"
        what = f"make {spec.file}, and keep it if it is faster" if spec.recipe else prove_it
        with self.step(what):
            fused = _last(self._recipe(spec, output)).fused_operators if spec.recipe else {}
            with _opened(spec, output) as session:
                proof = check_parity(session, self.grid, self.atol, self.reference_error)
                times = self._speedup(spec, session)
        if times is not None and times < WORTH_KEEPING:
            output.unlink()
            return None
        proved = _place(spec) is not None
        return Variant(spec.backend, spec.precision, spec.file, proof, None, proved, fused, times)

    def _lossy(self, spec: VariantSpec, output: Path) -> Variant:
        """Try the recipe's settings until the gate lets one pass; of those that fail, keep the best."""
        kept, best = output.with_suffix(".best"), (float("inf"), Metrics(), Made())
        what, more = f"make {spec.file}", True
        with closing(self._recipe(spec, output)) as recipe:
            while more and best[0] > 0:
                with self.step(what):
                    made = next(recipe)
                    with _opened(spec, output) as session:
                        metrics = self._gate.judge(session)
                lack = sum(_lack(metrics[name], BOUNDS[name]) for name in metrics_below_bound(metrics))
                if lack < best[0]:
                    best = (lack, metrics, made)
                    shutil.copyfile(output, kept)
                what, more = f"make {spec.file} again, since {_short(metrics)}", made.more
        kept.replace(output)
        _, metrics, made = best
        below_bound = tuple(metrics_below_bound(metrics))
        if below_bound and not self.allow_loss:
            raise QuantizationError(
                f"{spec.file} loses too much: {_short(metrics)}; allow_loss (--allow-loss) writes it all the same"
            )
        with self.step(f"measure {spec.file}"), _opened(spec, output) as session:
            loss = AccuracyDrop(
                engine=session.engine,
                shapes=tuple(call.shape for call in self.grid),
                largest_error=_finite(session, self.grid, spec.file) + self.reference_error,
                reference_output_error=measure_relative_error(session, self.golden),
                metrics={name: round(value, 5) for name, value in metrics.items()},
                below_bound=below_bound,
                evaluation_set_sha256=self._judging.sha256,
                calibration_set_sha256=self.calibration.sha256,
                settings=made.settings,
            )
            times = self._speedup(spec, session)
        proved = _place(spec) is not None and not below_bound
        return Variant(spec.backend, spec.precision, spec.file, None, loss, proved, made.fused_operators, times)

    def _recipe(self, spec: VariantSpec, output: Path) -> Settings:
        return RECIPES[spec.recipe or ""](self.folder / MODEL_FILE, output, self._calls)

    def _speedup(self, spec: VariantSpec, session: Session) -> float | None:
        """How many times as fast as `model.onnx` on the same engine; None for that itself, and where
        that engine is not at hand."""
        if spec.recipe is None or _place(spec) is None:
            return None
        largest = max(self.grid, key=lambda call: call.shape[0] * call.shape[1])
        one_row = {name: array[:1] for name, array in largest.feeds.items()}
        with _opened(spec, self.folder / MODEL_FILE) as plain:
            return speedup(session, plain, one_row)

    @cached_property
    def _calls(self) -> list[Feeds]:
        return tokenized(self.kind, self.folder, self.calibration.rows)

    @cached_property
    def _judging(self) -> Texts:
        return read_texts(EVALUATION_SET_FILE)

    @cached_property
    def _gate(self) -> Gate:
        with opened(REFERENCE, self.folder / MODEL_FILE) as reference:
            return Gate(self.kind, self.folder, reference, self._judging.rows)


def _short(metrics: Metrics) -> str:
    """Which metrics miss their bounds, for people."""
    return ", ".join(
        f"{name} is {metrics[name]:.3f} and must be at least {BOUNDS[name]:.2f}"
        for name in metrics_below_bound(metrics)
    )


def _lack(figure: float, bound: float) -> float:
    """How much a figure is short of its bound; a figure that is no number lacks all of it."""
    return bound - figure if figure == figure else bound


def _place(spec: VariantSpec) -> str | None:
    """The device at hand that a variant is for, with its engine; None where there is none.

    TensorRT's engines are not built here: they are proved when they are (`dpr-runtime build`).
    """
    if "cpu" in spec.devices:
        return "cpu" if find_spec(spec.backend) else None
    if spec.backend != "onnxruntime" or gpu_problem(0):
        return None
    from dpr_export.runtime.engines.nvidia.onnxruntime_cuda import cuda_problem

    return None if cuda_problem(0) else "cuda"


def _opened(spec: VariantSpec, graph: Path) -> AbstractContextManager[Session]:
    """A session on the engine and device that a variant is for; where they are not at hand, on ONNX Runtime's CPU."""
    place = _place(spec)
    return opened(spec.backend if place else REFERENCE, graph, place or "cpu")


@contextmanager
def opened(backend: str, graph: Path, device: str = "cpu") -> Iterator[Session]:
    """A session for as long as the context lasts, on the CPU with this process's processors; nothing is cached."""
    session = open_session(backend, graph, device=device, threads=usable_processors())
    try:
        yield session
    finally:
        session.close()


def _finite(session: Session, calls: Sequence[Example], file: str) -> float:
    """The largest error over the calls, which must be finite: no mask and no length may give NaN."""
    largest = max(max(measure_errors(session, call).values()) for call in calls)
    if largest == float("inf"):
        raise QuantizationError(f"{file} gives numbers that are not finite, on {session.engine}")
    return largest


def _last(made: Iterator[Made]) -> Made:
    *_, last = made
    return last
