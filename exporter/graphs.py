"""The graphs of an exported folder: traced from the original, proved against it, and the variants made of them.

`model.onnx` comes first, and everything else of it. Beside it there may be `model_embeds.onnx`, which takes the words'
embeddings in place of ids: the same layers, without the table that turns one into the other, and proved in the same
way.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from dpr_export.exporter.checkpoint.load import Original
from dpr_export.exporter.tracing.reference_outputs import REFERENCE_SHAPES, WORD_EMBEDDINGS, examples
from dpr_export.exporter.tracing.trace import trace
from dpr_export.exporter.tracing.weights import check_weights
from dpr_export.models.artifact.manifest import REFERENCE_OUTPUTS_FILE, Variant
from dpr_export.models.artifact.reference_outputs import Example, write_reference_outputs
from dpr_export.models.artifact.variants import EMBEDS_FILE, MODEL_FILE, VariantSpec
from dpr_export.models.kinds import EMBEDS, IDS
from dpr_export.models.optional_outputs import OptionalOutputs
from dpr_export.quantization.add import make_variants
from dpr_export.quantization.texts import Texts
from dpr_export.quantization.variants import REFERENCE, Maker
from dpr_export.runtime.inference.progress import Step

EMBEDS_BACKENDS = (REFERENCE, "openvino")  # those that run it: on the CPU


@dataclass(frozen=True)
class Graphs:
    """Makes the graphs of one folder.

    Attributes:
        original: the original.
        folder: where they are written; it has the configuration and the tokenizer already.
        texts: the texts that scales are measured on.
        opset: the ONNX operator set.
        atol: the absolute part of the error allowed to what is not lossy.
        allow_loss: write a variant that misses a bound too.
        optional_outputs: what the graphs give besides their kind's outputs.
        step: told of each step.
    """

    original: Original
    folder: Path
    texts: Texts
    opset: int
    atol: float
    allow_loss: bool
    optional_outputs: OptionalOutputs
    step: Step

    def make(self, specs: Iterable[VariantSpec], inputs_embeds: bool) -> tuple[Variant, ...]:
        """Write `model.onnx`, its variants, reference_outputs.npz, and `model_embeds.onnx` on request.

        Raises:
            ExportError: PyTorch cannot trace the model, or a weight is not in the graph.
            ParityError, QuantizationError: a graph is wrong, or loses too much.
            ValueError: a lossy variant is asked for of a graph with extra outputs.
        """
        specs = list(specs)
        if self.optional_outputs and (lossy := [spec.precision for spec in specs if spec.lossy]):
            raise ValueError(
                f"precision is {lossy[0]}, and the graph gives {' and '.join(self.optional_outputs.fields)}, whose "
                "loss is not judged: only fp32 is made of such a graph"
            )
        (self.folder / "onnx").mkdir()
        variants, golden = self._traced(MODEL_FILE, IDS, [s for s in specs if not (self.optional_outputs and s.recipe)])
        if inputs_embeds:
            backends = dict.fromkeys(spec.backend for spec in specs if spec.backend in EMBEDS_BACKENDS)
            rows = [VariantSpec(backend, "fp32", EMBEDS_FILE) for backend in backends or [REFERENCE]]
            more, more_golden = self._traced(EMBEDS_FILE, EMBEDS, rows)
            variants, golden = variants + more, golden + more_golden
        write_reference_outputs(self.folder / REFERENCE_OUTPUTS_FILE, golden)
        return tuple(replace(variant, optional_outputs=self.optional_outputs.fields) for variant in variants)

    def _traced(
        self, file: str, tokens: str, specs: list[VariantSpec]
    ) -> tuple[tuple[Variant, ...], tuple[Example, ...]]:
        """One graph, proved, with what is made of it; and the examples of it that are kept in the folder."""
        with self.step(f"trace {file} with torch.onnx"):
            trace(self.original, self.folder / file, self.opset, self.optional_outputs, tokens)
            check_weights(self.original.model, self.folder / file, but=WORD_EMBEDDINGS if tokens == EMBEDS else None)
        with self.step("run PyTorch on the grid"):
            grid = list(examples(self.original, optional_outputs=self.optional_outputs, tokens=tokens))
            golden = tuple(examples(self.original, REFERENCE_SHAPES, self.optional_outputs, tokens))
        kind = self.original.kind
        maker = Maker(kind, self.folder, grid, golden, self.texts, self.atol, self.allow_loss, self.step)
        return make_variants(maker, specs, self.folder), golden
