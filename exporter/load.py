"""Load a checkpoint with transformers, as the class its configuration names, and refuse what would load wrongly.

Three ways to a wrong model are closed here: `AutoModel` (which builds a question encoder with random weights from a
context encoder's checkpoint) is never used; a weight that is missing is an error and not a warning; and settings that
the installed transformers would ignore (relative positions, a decoder's mask) are refused.
"""

from dataclasses import dataclass

import torch
import transformers

from dpr_export.exporter.errors import ExportError, cause_of
from dpr_export.exporter.quiet import quietly
from dpr_export.exporter.source import Checkpoint
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import Kind, kind_of


@dataclass(frozen=True, slots=True)
class Original:
    """The original model, in float32 and evaluation mode, with eager attention."""

    kind: Kind
    config: DPRConfig
    model: torch.nn.Module


def load(checkpoint: Checkpoint) -> Original:
    """Load the original model.

    Raises:
        ExportError: the checkpoint is no DPR model, or would not load whole and right. The message says why.
    """
    try:
        config = DPRConfig.from_pretrained(checkpoint.folder)
        kind = kind_of(config.architectures)
    except (OSError, ValueError) as error:
        raise ExportError(str(error)) from None
    _refuse_unsupported(config)
    model_class = getattr(transformers, kind.architecture)
    weights = checkpoint.weights
    try:
        with quietly():
            model, report = model_class.from_pretrained(
                checkpoint.folder,
                dtype=torch.float32,
                attn_implementation="eager",
                use_safetensors=weights.suffix == ".safetensors",
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # from_pretrained raises whatever its many readers raise
        raise ExportError(f"{weights.name} of {checkpoint.name} cannot be loaded: {cause_of(error)}") from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise ExportError(
            f"{weights.name} of {checkpoint.name} lacks {len(missing)} weights of a {kind.architecture}: "
            + ", ".join(missing[:3])
            + (", ..." if len(missing) > 3 else "")
        )
    return Original(kind, config, model.eval())


def _refuse_unsupported(config: DPRConfig) -> None:
    if config.position_embedding_type != "absolute":
        raise ExportError(
            f"position_embedding_type is {config.position_embedding_type!r}: only 'absolute' can be exported "
            "(transformers 5 ignores the others and computes something else)"
        )
    if config.pad_token_id is not None and not 0 <= config.pad_token_id < config.vocab_size:
        raise ExportError(f"pad_token_id is {config.pad_token_id}, and must be within 0..{config.vocab_size - 1}")
    if config.is_decoder or config.add_cross_attention:
        raise ExportError("is_decoder and add_cross_attention must be false: a DPR model reads in both directions")
