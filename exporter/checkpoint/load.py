"""Load a checkpoint into the transformers class of its kind, and refuse one that would load wrongly.

Readers for each layout of files name the weights as that class does. `AutoModel` is never used: from a context
encoder's checkpoint it builds a question encoder with random weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from dpr_export.exporter.checkpoint.facebookresearch import read_facebook_file
from dpr_export.exporter.checkpoint.model import build_model
from dpr_export.exporter.checkpoint.pytorch import read_pytorch_weights
from dpr_export.exporter.checkpoint.source import Checkpoint
from dpr_export.exporter.checkpoint.tensorflow import is_tensorflow, read_tensorflow_weights
from dpr_export.exporter.errors import ExportError, cause_of
from dpr_export.models.artifact.git_lfs import POINTER, is_pointer
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import Kind, find_kind

_UNUSED = (".pooler.", "embeddings.position_ids")  # weights of BERT that no DPR model reads


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A checkpoint's PyTorch model in float32 and evaluation mode, with eager attention."""

    kind: Kind
    config: DPRConfig
    model: torch.nn.Module
    similarity: str = "inner_product"  # how its vectors are compared, as in the manifest


def load(checkpoint: Checkpoint) -> LoadedCheckpoint:
    """Load a checkpoint's model.

    Raises:
        ExportError: it is not a DPR model, or would not load completely and correctly. The message says why.
    """
    if checkpoint.file:
        _refuse_pointer(checkpoint.file)
        kind, config, weights = read_facebook_file(checkpoint)
        return _fill(kind, config, weights, checkpoint.name)
    try:
        config = DPRConfig.from_pretrained(checkpoint.folder)
        kind = find_kind(config.architectures)
    except (OSError, ValueError) as error:
        raise ExportError(str(error)) from None
    _refuse_unsupported(config)
    path, name = checkpoint.weights, f"{checkpoint.weights.name} of {checkpoint.name}"
    _refuse_pointer(path)
    if is_tensorflow(path):
        return _fill(kind, config, read_tensorflow_weights(path, name), name)
    # transformers ignores weights that its class does not have, so a PyTorch file may hold more.
    return _fill(kind, config, read_pytorch_weights(path, name, kind), name, ignore_foreign=True)


def _fill(
    kind: Kind, config: DPRConfig, weights: Mapping[str, torch.Tensor], name: str, ignore_foreign: bool = False
) -> LoadedCheckpoint:
    """Build the model with these weights; refuse missing, misshapen and, unless ignored, foreign ones."""
    try:
        model = build_model(kind, config)
    except (KeyError, ValueError) as error:  # an unknown activation, or heads that do not divide the hidden size
        raise ExportError(f"{name} cannot be loaded: {cause_of(error)}") from None
    expected = model.state_dict()
    if missing := sorted(expected.keys() - weights.keys()):
        raise ExportError(f"{name} lacks {len(missing)} weights of a {kind.architecture}: {_first(missing)}")
    foreign = sorted(key for key in weights.keys() - expected.keys() if not any(part in key for part in _UNUSED))
    if foreign and not ignore_foreign:
        raise ExportError(f"{name} has {len(foreign)} weights that a {kind.architecture} has not: {_first(foreign)}")
    for key, weight in expected.items():
        if weights[key].shape != weight.shape:
            there, here = list(weights[key].shape), list(weight.shape)
            raise ExportError(f"{key} in {name} has shape {there}, but the configuration requires {here}")
        if not weights[key].is_floating_point():
            raise ExportError(f"{key} in {name} is of type {weights[key].dtype}, and must be floating point")
    model.load_state_dict({key: weights[key] for key in expected})
    return LoadedCheckpoint(kind, config, model)


def _refuse_pointer(path: Path) -> None:
    if is_pointer(path):
        raise ExportError(f"{path} {POINTER}")


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _refuse_unsupported(config: DPRConfig) -> None:
    if config.position_embedding_type != "absolute":
        raise ExportError(
            f"position_embedding_type is {config.position_embedding_type!r}: only 'absolute' can be exported "
            "(transformers 5 ignores any other and computes something else)"
        )
    if config.pad_token_id is not None and not 0 <= config.pad_token_id < config.vocab_size:
        raise ExportError(f"pad_token_id is {config.pad_token_id}, and must be within 0..{config.vocab_size - 1}")
    if config.is_decoder or config.add_cross_attention:
        raise ExportError("is_decoder and add_cross_attention must be false: a DPR model reads in both directions")
