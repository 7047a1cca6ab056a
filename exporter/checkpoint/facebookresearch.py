"""Read a file that facebookresearch/DPR wrote: the pickle of a bi-encoder or a reader, together with its optimizer.

PyTorch's unpickler for weights runs no code of it. It has no vocabulary and no reliable configuration: the user gives
the kind, the tokenizer and, unless heads are 64 wide, their number; sizes are read from the weights' shapes.
"""

import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from warnings import catch_warnings, simplefilter

import torch
from tokenizers.models import WordPiece

from dpr_export.exporter.checkpoint.families import BERT, ROBERTA, Family, as_bert_config, as_bert_weights
from dpr_export.exporter.checkpoint.find_checkpoint import Checkpoint
from dpr_export.exporter.checkpoint.pytorch import is_plain
from dpr_export.exporter.checkpoint.tokenizer import read_tokenizer
from dpr_export.exporter.errors import ExportError, cause_of
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import KINDS, Kind
from dpr_export.models.tokenization.encoder_tokenizers import BertTokenizer

HEAD_SIZE = 64
Weights = dict[str, torch.Tensor]


# How the names of each kind's BERT begin in the file. A reader's other weights have no prefix there.
_PREFIXES = {"question": "question_model.", "context": "ctx_model.", "reader": "encoder."}
# The types of encoders, as encoder_params name them; old files name none.
_ENCODERS = {None: BERT, "hf_bert": BERT, "hf_roberta": ROBERTA}
_DEFAULTS: dict[str, dict[str, Any]] = {BERT.title: {}, ROBERTA.title: {"layer_norm_eps": 1e-5}}
_UNREAD = re.compile(r"pooler\.|embeddings\.position_ids$")  # weights of BERT that no DPR model reads
# Each size in the configuration: the weight and the dimension that it is read from.
_SIZES = {
    "vocab_size": ("embeddings.word_embeddings.weight", 0),
    "hidden_size": ("embeddings.word_embeddings.weight", 1),
    "max_position_embeddings": ("embeddings.position_embeddings.weight", 0),
    "type_vocab_size": ("embeddings.token_type_embeddings.weight", 0),
    "intermediate_size": ("encoder.layer.0.intermediate.dense.weight", 0),
}


class _Ignored:
    """Replaces an object that is not a weight, whatever its arguments, and keeps its attributes."""

    def __new__(cls, *_: object) -> "_Ignored":
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        self.attributes = state if isinstance(state, dict) else {}


def _empty_dict(*_: object) -> dict[object, object]:
    """Replaces a defaultdict, which the unpickler cannot fill."""
    return {}


# Files since the end of 2020 hold their encoder's configuration as an omegaconf object, which is not needed.
_REPLACED: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_empty_dict, "collections.defaultdict"),
    *(
        (_Ignored, name)
        for name in (
            *("omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata", "omegaconf.nodes.AnyNode"),
            *("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig"),
            *("builtins.dict", "builtins.list", "builtins.int", "builtins.float", "builtins.str", "builtins.bool"),
            "typing.Any",
        )
    ),
]


def read_facebook_file(checkpoint: Checkpoint) -> tuple[Kind, Family, DPRConfig, Weights]:
    """Read the kind, the family, the configuration, and the weights by BERT's names.

    Raises:
        ExportError: the file cannot be read, would run code, has no such model, or needs another tokenizer.
    """
    assert checkpoint.kind is not None  # both were asked for
    assert checkpoint.tokenizer is not None
    kind = KINDS[checkpoint.kind]
    tokenizer = read_tokenizer(kind, checkpoint.tokenizer)
    state = _unpickle(checkpoint.name, checkpoint.weights[0])
    family = _find_family(checkpoint, state, tokenizer)
    if family is BERT:  # others do not lower-case, whatever the file says
        _check_case(checkpoint, state, tokenizer)
    weights = _rename(checkpoint.name, kind, state["model_dict"])
    values = _infer_config(checkpoint.name, kind, weights, checkpoint.heads)
    values |= {"pad_token_id": tokenizer.pad_token_id, "architectures": [kind.architecture], **_DEFAULTS[family.title]}
    values = as_bert_config(family, values)
    return kind, family, DPRConfig.from_dict(values), as_bert_weights(family, values, weights)


def _unpickle(name: str, path: Path) -> dict[str, Any]:
    try:
        # Memory-mapped if the format allows it: two thirds of a file are its optimizer's. PyTorch warns of pickle
        # protocols other than its own before it refuses them.
        with torch.serialization.safe_globals(_REPLACED), catch_warnings():
            simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # the unpickler raises whatever a damaged file leads it to
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise ExportError(
                f"{name} is refused: its pickle would call {code.group(1)}, and a file of weights must not run code"
            ) from None
        cause = type(error).__name__ if isinstance(error, UnpicklingError) else cause_of(error)
        raise ExportError(f"{name} is damaged, or not a facebookresearch/DPR checkpoint: {cause}") from None
    model = state.get("model_dict") if isinstance(state, dict) else None
    if not isinstance(model, Mapping):
        raise ExportError(f"{name} has no model_dict, so it is not a facebookresearch/DPR checkpoint")
    for key, weight in model.items():
        if not (isinstance(key, str) and isinstance(weight, torch.Tensor) and is_plain(weight)):
            raise ExportError(f"{name} is damaged: {key!r} in its model_dict is not a weight")
    return dict(state)


def _check_case(checkpoint: Checkpoint, state: Mapping[str, Any], tokenizer: BertTokenizer) -> None:
    """Refuse a tokenizer that lower-cases if the model was trained without that, or the other way round."""
    params = state.get("encoder_params")
    trained = params.get("do_lower_case") if isinstance(params, dict) else None
    if isinstance(trained, bool) and trained is not tokenizer.do_lower_case:
        raise ExportError(
            f"{checkpoint.name} was trained with do_lower_case {trained}, but tokenizer {checkpoint.tokenizer} has "
            f"{tokenizer.do_lower_case}: correct its tokenizer_config.json"
        )


def _find_family(checkpoint: Checkpoint, state: Mapping[str, Any], tokenizer: BertTokenizer) -> Family:
    """Return the family of the model, as the file says it; the tokenizer must be of the same."""
    params = state.get("encoder_params")
    params = params if isinstance(params, dict) else {}
    encoder = params.get("encoder")  # an omegaconf object: {"_content": {name: {"_val": value}}}
    content = encoder.attributes.get("_content", {}) if isinstance(encoder, _Ignored) else {}
    node = content.get("encoder_model_type") if isinstance(content, dict) else None
    found = node.attributes.get("_val") if isinstance(node, _Ignored) else params.get("encoder_model_type")
    if not isinstance(found, str | None) or found not in _ENCODERS:
        known = " and ".join(filter(None, _ENCODERS))
        raise ExportError(f"{checkpoint.name} holds an encoder of the type {found}, and only {known} can be exported")
    family, is_berts = _ENCODERS[found], isinstance(tokenizer.backend_tokenizer.model, WordPiece)
    if is_berts is not (family is BERT):
        raise ExportError(
            f"{checkpoint.name} holds an encoder of the type {found or 'hf_bert'}, but tokenizer "
            f"{checkpoint.tokenizer} is {'' if is_berts else 'not '}BERT's"
        )
    return family


def _rename(name: str, kind: Kind, model: Mapping[str, torch.Tensor]) -> Weights:
    """Name the weights of one kind as the transformers class does, and leave out those of other models."""
    held = [other for other, prefix in _PREFIXES.items() if any(key.startswith(prefix) for key in model)]
    if kind.name not in held:
        content = ", ".join(held) or f"no DPR model: its weights are {', '.join(list(model)[:3]) or 'none'}"
        raise ExportError(f"kind is {kind.name!r}, but {name} holds {content}")
    others = tuple(prefix for other, prefix in _PREFIXES.items() if other != kind.name)
    weights = {}
    for key, weight in model.items():
        bare = key.removeprefix(_PREFIXES[kind.name])
        is_others = bare == key and key.startswith(others)
        is_projection = kind.name == "reader" and bare.startswith("encode_proj.")  # which readers do not use
        if not (is_others or is_projection or _UNREAD.match(bare)):
            weights[bare] = weight
    return weights


def _infer_config(name: str, kind: Kind, weights: Weights, heads: int | None) -> dict[str, Any]:
    """The configuration that the weights' shapes imply."""
    sizes = {}
    for size, (key, dimension) in _SIZES.items():
        weight = weights.get(key)
        if weight is None or weight.ndim != 2:
            raise ExportError(f"{name} lacks a weight of a {kind.architecture}, or has it in another shape: {key}")
        sizes[size] = weight.shape[dimension]
    hidden_size = sizes["hidden_size"]
    if heads is None and hidden_size % HEAD_SIZE:
        raise ExportError(f"heads must be given (--heads): {HEAD_SIZE} does not divide the hidden size {hidden_size}")
    if heads is not None and hidden_size % heads:
        raise ExportError(f"heads is {heads}, and must divide the hidden size {hidden_size}")
    layers = {match.group(1) for key in weights if (match := re.match(r"encoder\.layer\.(\d+)\.", key))}
    projection = weights.get("encode_proj.weight")
    if projection is not None and projection.ndim != 2:
        raise ExportError(f"encode_proj.weight in {name} has shape {list(projection.shape)}, and must be a matrix")
    sizes |= {"num_hidden_layers": len(layers), "num_attention_heads": heads or hidden_size // HEAD_SIZE}
    sizes["projection_dim"] = 0 if projection is None else projection.shape[0]
    return sizes
