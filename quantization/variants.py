"""Make the variants of an exported model by their recipes, and check each on the engine that runs it.

A float32 variant must pass the parity check over the grid of `runtime/checks/parity.py`. A lossy variant must give
finite numbers there, and reach its bounds on the evaluation set; a recipe may try several settings until one does.
"""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from dpr_export.models.artifact.graph_files import move_graph, remove_graph
from dpr_export.models.artifact.manifest import AccuracyDrop, Variant
from dpr_export.models.artifact.reference_outputs import Example
from dpr_export.models.artifact.variants import BOUNDS, MODEL_FILE, VariantSpec, metrics_below_bound
from dpr_export.models.kinds import Kind
from dpr_export.models.progress import Step, silent
from dpr_export.quantization.errors import QuantizationError
from dpr_export.quantization.gate import Gate, Metrics, tokenize_each
from dpr_export.quantization.recipes import RECIPES, Attempt, Attempts
from dpr_export.quantization.speed import speedup
from dpr_export.quantization.texts import EVALUATION_SET_FILE, Texts, read_texts
from dpr_export.runtime.checks.parity import ParityError, check_finite
from dpr_export.runtime.checks.variant_parity import REFERENCE, check_variant, find_device, open_graph, open_variant
from dpr_export.runtime.engines.session import Feeds, Session
from dpr_export.runtime.inference.sample import measure_least_cosine

WORTH_KEEPING = 1.03
SLACK = 0.01  # how much the cosine of a variant that is below the bound already may fall on another machine


@dataclass(frozen=True)
class VariantMaker:
    """Makes variants of one folder."""

    kind: Kind
    folder: Path  # with the configuration, the tokenizer and `model.onnx`
    grid: Sequence[Example]  # calls of many sizes, with the reference outputs
    sample: Sequence[Example]  # those of evaluation_sample.npz
    calibration: Texts
    atol: float  # the absolute part of the tolerance of variants that are not lossy
    allow_loss: bool = False  # also write a variant that is below a bound, and record that in the manifest
    step: Step = silent  # called with the name of each step
    reference_error: float = 0.0  # the largest error of the outputs of `grid` themselves

    def make_all(self, specs: Iterable[VariantSpec], output: Path) -> tuple[Variant, ...]:
        """Make variants, as `make` does, with new graphs below `output`. `model.onnx` itself is only checked."""
        made = [self.make(spec, (output if spec.recipe else self.folder) / spec.file) for spec in specs]
        return tuple(variant for variant in made if variant is not None)

    def make(self, spec: VariantSpec, graph: Path) -> Variant | None:
        """Write one variant's graph, unless it is `model.onnx` itself, and check it.

        Returns:
            The variant; None for a fused graph that is hardly faster, whose file is removed.

        Raises:
            ParityError: its outputs differ from transformers' by more than the tolerance.
            QuantizationError: it cannot be made, or a metric is below its bound.
        """
        graph.parent.mkdir(exist_ok=True)
        if spec.lossy:
            return self._make_lossy(spec, graph)
        if spec.recipe is None:
            with self.step(f"check {spec.file} {'on' if find_device(spec) else 'for'} {spec.backend}"):
                return check_variant(spec, graph, self.grid, self.atol, self.reference_error)
        with self.step(f"make {spec.file}, and keep it if it is faster"):
            *_, attempt = self._run_recipe(spec, graph)
            variant = check_variant(spec, graph, self.grid, self.atol, self.reference_error)
            with open_variant(spec, graph) as session:
                times = self._measure_speedup(spec, session)
        if times is not None and times < WORTH_KEEPING:
            remove_graph(graph)
            return None
        return replace(variant, fused_operators=attempt.fused_operators, speedup=times)

    def _make_lossy(self, spec: VariantSpec, graph: Path) -> Variant:
        """Try the recipe's settings until one reaches every bound; if none does, take the one nearest to its bounds."""
        kept, best = graph.with_suffix(".best"), (float("inf"), Metrics(), Attempt())
        kept.mkdir()
        step_name, has_more = f"make {spec.file}", True
        with closing(self._run_recipe(spec, graph)) as recipe:
            while has_more and best[0] > 0:
                with self.step(step_name):
                    attempt = next(recipe)
                    with open_variant(spec, graph) as session:
                        metrics = self._gate.judge(session)
                shortfall = sum(_shortfall(metrics[name], BOUNDS[name]) for name in metrics_below_bound(metrics))
                if shortfall < best[0]:
                    best = (shortfall, metrics, attempt)
                    move_graph(graph, kept)
                step_name, has_more = f"make {spec.file} again, since {_describe_misses(metrics)}", attempt.has_more
        move_graph(kept / graph.name, graph.parent)
        kept.rmdir()
        _, metrics, attempt = best
        below_bound = tuple(metrics_below_bound(metrics))
        if below_bound and not self.allow_loss:
            raise QuantizationError(
                f"{spec.file} is not accurate enough: {_describe_misses(metrics)}; "
                "allow_loss (--allow-loss) writes it all the same"
            )
        with self.step(f"measure {spec.file}"), open_variant(spec, graph) as session:
            cosine = measure_least_cosine(session, self.kind, self.sample)
            drop = AccuracyDrop(
                engine=session.engine,
                shapes=tuple(call.shape for call in self.grid),
                largest_error=_check_finite(session, self.grid, spec.file) + self.reference_error,
                sample_cosine=round(cosine, 5),
                sample_bound=round(min(BOUNDS["least_cosine"], cosine - SLACK), 5),
                metrics={name: round(value, 5) for name, value in metrics.items()},
                below_bound=below_bound,
                evaluation_set_sha256=self._evaluation_set.sha256,
                calibration_set_sha256=self.calibration.sha256,
                settings=attempt.settings,
            )
            times = self._measure_speedup(spec, session)
        verified = find_device(spec) is not None and not below_bound
        return Variant(spec.backend, spec.precision, spec.file, None, drop, verified, attempt.fused_operators, times)

    def _run_recipe(self, spec: VariantSpec, graph: Path) -> Attempts:
        return RECIPES[spec.recipe or ""](self.folder / MODEL_FILE, graph, self._calibration_calls)

    def _measure_speedup(self, spec: VariantSpec, session: Session) -> float | None:
        """How many times as fast as `model.onnx` on the same engine; None if this machine lacks that engine."""
        if find_device(spec) is None:
            return None
        largest = max(self.grid, key=lambda call: call.shape[0] * call.shape[1])
        one_row = {name: array[:1] for name, array in largest.feeds.items()}
        with open_variant(spec, self.folder / MODEL_FILE) as plain:
            return speedup(session, plain, one_row)

    @cached_property
    def _calibration_calls(self) -> list[Feeds]:
        return tokenize_each(self.kind, self.folder, self.calibration.rows)

    @cached_property
    def _evaluation_set(self) -> Texts:
        return read_texts(EVALUATION_SET_FILE)

    @cached_property
    def _gate(self) -> Gate:
        with open_graph(REFERENCE, self.folder / MODEL_FILE) as reference:
            return Gate(self.kind, self.folder, reference, self._evaluation_set.rows)


def _check_finite(session: Session, calls: Sequence[Example], file: str) -> float:
    """As `check_finite`, with a QuantizationError that names the file."""
    try:
        return check_finite(session, calls)
    except ParityError as error:
        raise QuantizationError(f"{file} gives numbers that are not finite: {error}, on {session.engine}") from None


def _describe_misses(metrics: Metrics) -> str:
    """Each metric below its bound, with its value and that bound."""
    return ", ".join(
        f"{name} is {metrics[name]:.3f} and must be at least {BOUNDS[name]:.2f}"
        for name in metrics_below_bound(metrics)
    )


def _shortfall(value: float, bound: float) -> float:
    """How far a metric is below its bound. NaN is as far as it can be: the bound itself."""
    return bound - value if value == value else bound
