"""Load a checkpoint into transformers' class that its configuration names, and refuse what would load wrongly.

Three ways to a wrong model are closed here: `AutoModel` (which builds a question encoder with random weights from a
context encoder's checkpoint) is never used; a weight that is missing is an error and not a warning; and settings that
the installed transformers would ignore (relative positions, a decoder's mask) are refused. What transformers does not
read, TensorFlow's files and the first DPR code's, is read here, and a weight too many is an error there as well.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import transformers

from dpr_export.exporter.checkpoint.facebookresearch import read as read_first_code
from dpr_export.exporter.checkpoint.source import Checkpoint
from dpr_export.exporter.checkpoint.tensorflow import is_tensorflow, read_weights
from dpr_export.exporter.errors import ExportError, cause_of
from dpr_export.exporter.quiet import quietly
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
    if checkpoint.first_code:
        kind, config, weights = read_first_code(checkpoint, checkpoint.first_code)
        return Original(kind, config, _filled(kind, config, weights, checkpoint.name))
    try:
        config = DPRConfig.from_pretrained(checkpoint.folder)
        kind = kind_of(config.architectures)
    except (OSError, ValueError) as error:
        raise ExportError(str(error)) from None
    _refuse_unsupported(config)
    path, name = checkpoint.weights, f"{checkpoint.weights.name} of {checkpoint.name}"
    if is_tensorflow(path):
        return Original(kind, config, _filled(kind, config, read_weights(path, name), name))
    return Original(kind, config, _from_pretrained(kind, checkpoint, name))


def _from_pretrained(kind: Kind, checkpoint: Checkpoint, name: str) -> torch.nn.Module:
    """The model, as transformers reads it."""
    model_class = getattr(transformers, kind.architecture)
    try:
        with quietly():
            model, report = model_class.from_pretrained(
                checkpoint.folder,
                dtype=torch.float32,
                attn_implementation="eager",
                use_safetensors=checkpoint.weights.suffix == ".safetensors",
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # from_pretrained raises whatever its many readers raise
        raise ExportError(f"{name} cannot be loaded: {cause_of(error)}") from None
    _refuse_missing(name, kind, report["missing_keys"])
    evaluated: torch.nn.Module = model.eval()
    return evaluated


def _filled(kind: Kind, config: DPRConfig, weights: Mapping[str, torch.Tensor], name: str) -> torch.nn.Module:
    """The model, with these weights and no others, in these shapes."""
    values = transformers.DPRConfig.from_dict(config.to_dict(), attn_implementation="eager")
    try:
        model: torch.nn.Module = getattr(transformers, kind.architecture)(values).float().eval()
    except (KeyError, ValueError) as error:  # an unknown activation, heads that do not divide the hidden size
        raise ExportError(f"{name} cannot be loaded: {cause_of(error)}") from None
    wanted = model.state_dict()
    _refuse_missing(name, kind, wanted.keys() - weights.keys())
    unread = (".pooler.", "embeddings.position_ids")  # of BERT, and read by no DPR model
    found = {key: weight for key, weight in weights.items() if not any(part in key for part in unread)}
    if foreign := sorted(found.keys() - wanted.keys()):
        raise ExportError(f"{name} has {len(foreign)} weights that a {kind.architecture} has not: {_few(foreign)}")
    for key, weight in wanted.items():
        if found[key].shape != weight.shape:
            there, here = list(found[key].shape), list(weight.shape)
            raise ExportError(f"{key} in {name} has shape {there}, and must have {here} as the configuration says")
    model.load_state_dict(found)
    return model


def _refuse_missing(name: str, kind: Kind, missing: Iterable[str]) -> None:
    if names := sorted(missing):
        raise ExportError(f"{name} lacks {len(names)} weights of a {kind.architecture}: {_few(names)}")


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


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
