"""Load a checkpoint into the transformers class of its kind, and refuse one that would load wrongly.

Whatever wrote it, its weights get the names of that class, and its configuration BERT's fields. `AutoModel` is never
used: from a context encoder's checkpoint it builds a question encoder with random weights.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dpr_export.exporter.checkpoint.adapter import merge_adapter
from dpr_export.exporter.checkpoint.facebookresearch import read_facebook_file
from dpr_export.exporter.checkpoint.families import Family, as_bert_config, as_bert_weights, find_family
from dpr_export.exporter.checkpoint.find_checkpoint import Checkpoint
from dpr_export.exporter.checkpoint.layouts import FACEBOOK
from dpr_export.exporter.checkpoint.model import build_model
from dpr_export.exporter.checkpoint.pytorch import read_pytorch_weights
from dpr_export.exporter.checkpoint.sentence_transformers import Linear
from dpr_export.exporter.checkpoint.tensorflow import is_tensorflow, read_tensorflow_weights
from dpr_export.exporter.checkpoint.weight_names import as_dpr_name, first_names, name_weights
from dpr_export.exporter.errors import ExportError, cause_of
from dpr_export.models.artifact.git_lfs import POINTER, is_pointer
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import KINDS, Kind

_PROJECTION = "encode_proj.weight"
_POOLINGS = {"cls": "[CLS] pooling", "pooler": "BERT's pooler", "mean": "mean pooling"}

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A checkpoint's PyTorch model in float32 and evaluation mode, with eager attention."""

    kind: Kind
    config: DPRConfig
    model: torch.nn.Module
    layout: str = ""  # what the checkpoint was recognized as, for people
    similarity: str = "inner_product"  # how its vectors are compared, as in the manifest
    padding_moves_positions: bool = False  # whether the original counts positions by its padding, as RoBERTa does


def load(checkpoint: Checkpoint) -> LoadedCheckpoint:
    """Load a checkpoint's model.

    Raises:
        ExportError: it is not a DPR model, or would not load completely and correctly. The message says why.
    """
    _refuse_pointers(checkpoint.files)
    if checkpoint.layout == FACEBOOK:
        kind, family, config, weights = read_facebook_file(checkpoint)
        model = _fill(kind, config, weights, checkpoint.name)
        what = f"{checkpoint.layout}, {family.title}"
        return LoadedCheckpoint(kind, config, model, what, padding_moves_positions=family.positions_after_padding)
    name = f"{checkpoint.weights[0].name} of {checkpoint.name}"
    named = name_weights(_read(checkpoint.weights, checkpoint.name))
    if named.foreign:
        raise ExportError(
            f"{name} has {len(named.foreign)} weights that no DPR model has: {first_names(named.foreign)}"
        )
    kind, weights = _choose_kind(checkpoint, named.by_kind)
    is_dpr = any(named.by_kind) or _names_class(checkpoint.config)
    family = find_family(checkpoint.config, is_dpr, checkpoint.name)
    weights = _merge(checkpoint, weights)
    values = as_bert_config(family, checkpoint.config) | {"architectures": [kind.architecture]}
    values |= _pooling(checkpoint, weights, is_dpr, family)
    try:
        config = DPRConfig.from_dict(values)
    except ValueError as error:
        raise ExportError(str(error)) from None
    _refuse_unsupported(config)
    weights = _select(as_bert_weights(family, values, weights), kind, config, name)
    what = "DPR class" if is_dpr else f"{family.title}, {_POOLINGS[config.pooling]}"
    return LoadedCheckpoint(
        kind,
        config,
        _fill(kind, config, weights, name),
        f"{checkpoint.layout}, {what}",
        checkpoint.similarity,
        family.positions_after_padding,
    )


def _read(paths: Iterable[Path], name: str) -> Weights:
    """Read the weights of every part of a file."""
    weights: Weights = {}
    for path in paths:
        read = read_tensorflow_weights if is_tensorflow(path) else read_pytorch_weights
        weights |= read(path, f"{path.name} of {name}")
    return weights


def _choose_kind(checkpoint: Checkpoint, by_kind: Mapping[str, Weights]) -> tuple[Kind, Weights]:
    """Return the kind of the model, and its weights.

    The user's word comes first, then the names of the weights, then the layout and the class that the configuration
    names. A question encoder can be exported as a context encoder, and the other way round.
    """
    held = [kind for kind in by_kind if kind]
    named = [kind for kind in KINDS.values() if kind.architecture in _architectures(checkpoint.config)]
    asked = checkpoint.kind
    if asked is None and len(held) > 1:
        raise ExportError(f"{checkpoint.name} holds models of the kinds {', '.join(held)}: say which with --kind")
    if asked is None and not held and len(named) != 1:
        raise ExportError(
            f"{checkpoint.name} ({checkpoint.layout}, {checkpoint.config.get('model_type')}) does not say which kind "
            "of encoder it is: give --kind question or --kind context"
        )
    kind = KINDS[asked or next(iter(held), "") or named[0].name]
    return kind, by_kind.get(kind.name) or next(iter(by_kind.values()), {})


def _architectures(config: Mapping[str, Any]) -> list[Any]:
    architectures = config.get("architectures")
    return architectures if isinstance(architectures, list) else []


def _names_class(config: Mapping[str, Any]) -> bool:
    """Whether a configuration names a DPR class."""
    return any(kind.architecture in _architectures(config) for kind in KINDS.values())


def _merge(checkpoint: Checkpoint, weights: Weights) -> Weights:
    """Return the weights of the model with those of an adapter and of a projection that stands apart."""
    if checkpoint.adapter:
        config, paths = checkpoint.adapter
        weights = merge_adapter(weights, _read(paths, checkpoint.name), config, checkpoint.name)
    for layer in checkpoint.projections:
        weight, bias = _read_linear(layer, checkpoint.name)
        if _PROJECTION in weights:  # one linear layer after another is one
            before, shift = weights[_PROJECTION].float(), weights.get("encode_proj.bias", weight.new_zeros(0)).float()
            if weight.shape[1:] != before.shape[:1] or shift.shape != before.shape[:1]:
                raise ExportError(f"{layer.prefix}weight in {layer.file} does not fit {_PROJECTION} before it")
            weight, bias = weight.float() @ before, weight.float() @ shift + bias.float()
        weights = {**weights, _PROJECTION: weight, "encode_proj.bias": bias}
    return weights


def _read_linear(layer: Linear, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weight and the bias of a linear layer, which are zeros if it has none."""
    label = f"{layer.file.name} of {name}"
    read = read_pytorch_weights(layer.file, label)
    needed = [f"{layer.prefix}{part}" for part in (("weight", "bias") if layer.has_bias else ("weight",))]
    if lost := [key for key in needed if key not in read]:
        raise ExportError(f"{label} lacks {lost[0]}")
    weight, *bias = (read[key] for key in needed)
    if weight.ndim != 2 or (bias and bias[0].shape != weight.shape[:1]):
        shapes = " and ".join(str(list(read[key].shape)) for key in needed)
        raise ExportError(f"{' and '.join(needed)} in {label} have shapes {shapes}, which make no linear layer")
    return weight, bias[0] if bias else weight.new_zeros(weight.shape[:1])


def _pooling(checkpoint: Checkpoint, weights: Weights, is_dpr: bool, family: Family) -> dict[str, Any]:
    """Return the fields of the configuration that say what a vector is made of."""
    asked = checkpoint.pooling
    if is_dpr and asked not in (None, "cls"):
        raise ExportError(f"pooling is {asked!r}, but {checkpoint.name} is a DPR model, which reads [CLS]")
    if asked is None and not is_dpr and family.positions_after_padding and "pooler.dense.weight" in weights:
        raise ExportError(
            f"{checkpoint.name} is a {family.title} model with a pooler: give --pooling cls, or --pooling pooler if it "
            "was trained with pooler_output"
        )
    return {"pooling": asked or "cls", "normalize": checkpoint.normalize}


def _select(weights: Weights, kind: Kind, config: DPRConfig, name: str) -> Weights:
    """Leave out what the model does not read: BERT's pooler, and a reader's projection."""
    if config.pooling != "pooler":
        weights = {key: weight for key, weight in weights.items() if not key.startswith("pooler.")}
    if _PROJECTION in weights and not config.projection_dim:
        if kind.name != "reader":
            width = weights[_PROJECTION].shape[0]
            raise ExportError(
                f"{name} has {_PROJECTION}, which config.json does not mention: set projection_dim to {width} in it"
            )
        weights = {key: weight for key, weight in weights.items() if not key.startswith("encode_proj.")}
    return weights


def _fill(kind: Kind, config: DPRConfig, weights: Weights, name: str) -> torch.nn.Module:
    """Build the model with weights by BERT's names; refuse missing, misshapen and foreign ones."""
    weights = {as_dpr_name(kind, key): weight for key, weight in weights.items()}
    try:
        model = build_model(kind, config)
    except Exception as error:  # transformers raises whatever a value leads it to, such as an unknown activation
        raise ExportError(f"{name} cannot be loaded: {type(error).__name__}: {cause_of(error)}") from None
    expected = model.state_dict()
    if missing := sorted(expected.keys() - weights.keys()):
        raise ExportError(f"{name} lacks {len(missing)} weights of a {kind.architecture}: {first_names(missing)}")
    if foreign := sorted(weights.keys() - expected.keys()):
        raise ExportError(
            f"{name} has {len(foreign)} weights that a {kind.architecture} has not: {first_names(foreign)}"
        )
    for key, weight in expected.items():
        if weights[key].shape != weight.shape:
            there, here = list(weights[key].shape), list(weight.shape)
            raise ExportError(f"{key} in {name} has shape {there}, but the configuration requires {here}")
        if not weights[key].is_floating_point():
            raise ExportError(f"{key} in {name} is of type {weights[key].dtype}, and must be floating point")
    model.load_state_dict({key: weights[key] for key in expected})
    return model


def _refuse_pointers(paths: Iterable[Path]) -> None:
    for path in paths:
        if is_pointer(path):
            raise ExportError(f"{path} {POINTER}")


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
