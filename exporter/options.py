"""Options of an export: what to read of a checkpoint, which outputs its graphs have, and which variants to make."""

from dataclasses import dataclass, fields
from pathlib import Path

from dpr_export.models.artifact.variant_options import VariantOptions
from dpr_export.models.config import POOLINGS
from dpr_export.models.kinds import KINDS

OPSETS = range(18, 24)
DEFAULT_OPSET = 18


@dataclass(frozen=True, kw_only=True)
class ExportOptions(VariantOptions):
    """Options of `export`. Those of `VariantOptions` also apply to an exported folder, the others to a checkpoint.

    Attributes:
        revision: the branch, tag or commit to read from the hub; None: its default branch.
        token: the access token for the hub; None: the one that is logged in with.
        kind: "question", "context" or "reader", for a checkpoint that does not say it.
        pooling: "cls", "pooler" or "mean", for an encoder that is no DPR class; None: as its files say, or "cls".
        tokenizer: a folder, or a name on the hub, with another tokenizer than the checkpoint's.
        heads: the number of attention heads, for a facebookresearch/DPR file; None: the hidden size / 64.
        opset: the ONNX operator set of the graphs, 18 to 23; None: 18.
        output_hidden_states, output_attentions: whether the graphs return those of every layer; None: as in the
            checkpoint's config.json. Such graphs are made in fp32 only, and are not fused.
        inputs_embeds: also write `onnx/model_embeds.onnx`, whose first input is inputs_embeds in place of input_ids.

    Raises:
        ValueError: as `VariantOptions`, or `kind`, `pooling`, `heads` or `opset` is out of bounds.

    Example:
        >>> ExportOptions(precisions=["fp32", "int8"], opset=17)
        Traceback (most recent call last):
        ValueError: opset is 17, and must be within 18..23
    """

    revision: str | None = None
    token: str | None = None
    kind: str | None = None
    pooling: str | None = None
    tokenizer: str | Path | None = None
    heads: int | None = None
    opset: int | None = None
    output_hidden_states: bool | None = None
    output_attentions: bool | None = None
    inputs_embeds: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.opset is not None and self.opset not in OPSETS:
            raise ValueError(f"opset is {self.opset}, and must be within {OPSETS.start}..{OPSETS.stop - 1}")
        if self.kind is not None and self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}, and must be one of {', '.join(KINDS)}")
        if self.pooling is not None and self.pooling not in POOLINGS:
            raise ValueError(f"pooling is {self.pooling!r}, and must be one of {', '.join(POOLINGS)}")
        if self.heads is not None and self.heads < 1:
            raise ValueError(f"heads is {self.heads}, and must be 1 or more")

    def for_checkpoints(self) -> list[str]:
        """The names of the options that have a value and apply to a checkpoint only; a token may apply to nothing."""
        shared = {field.name for field in fields(VariantOptions)} | {"token"}
        return [
            field.name
            for field in fields(self)
            if field.name not in shared and getattr(self, field.name) != field.default
        ]


DEFAULT_OPTIONS = ExportOptions()
