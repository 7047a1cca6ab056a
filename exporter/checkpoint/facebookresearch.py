"""A checkpoint as the first DPR code wrote it: one file, of a bi-encoder or a reader, with its optimizer beside it.

Such a file (`dpr_biencoder.39`; those that were published end in `.cp`) is a pickle. It is read with PyTorch's
unpickler for weights alone, which runs nothing that the file asks for. It holds neither a vocabulary nor, in a form to
rely on, a configuration: the kind, the tokenizer and, unless heads are 64 wide, their number are asked of the user, and
sizes are those of the weights.

Files written from the end of 2020 on hold their encoder's configuration as an object of omegaconf. Nothing in it is
needed, so its classes are stood in for by an empty one, and omegaconf need not be installed.
"""

import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import Any
from warnings import catch_warnings, simplefilter

import torch

from dpr_export.exporter.checkpoint.source import Checkpoint, FirstCode
from dpr_export.exporter.errors import ExportError, cause_of
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import KINDS, Kind
from dpr_export.models.tokenization.by_kind import TOKENIZER_CLASSES
from dpr_export.models.tokenization.encoder_tokenizers import BertTokenizer

HEAD_SIZE = 64
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Names:
    """Where the weights of one kind stand.

    Attributes:
        there: what the names of its BERT begin with in the file.
        here: what those of its encoder begin with in transformers' class.
        heads: what the names of its other weights begin with there; None where they are of another model.
        unread: the weights of its encoder that nothing reads.
    """

    there: str
    here: str
    heads: str | None = None
    unread: str | None = None


NAMES = {
    "question": Names("question_model.", "question_encoder."),
    "context": Names("ctx_model.", "ctx_encoder."),
    "reader": Names("encoder.", "span_predictor.encoder.", heads="span_predictor.", unread="encode_proj."),
}
# Each size, the weight that shows it, and the dimension of it.
_SIZES = {
    "vocab_size": ("embeddings.word_embeddings.weight", 0),
    "hidden_size": ("embeddings.word_embeddings.weight", 1),
    "max_position_embeddings": ("embeddings.position_embeddings.weight", 0),
    "type_vocab_size": ("embeddings.token_type_embeddings.weight", 0),
    "intermediate_size": ("encoder.layer.0.intermediate.dense.weight", 0),
}


class _Ignored:
    """What stands in for an object that is not weights, whatever it is made from."""

    def __new__(cls, *_: object) -> "_Ignored":
        return super().__new__(cls)

    def __setstate__(self, _: object) -> None:
        pass


def _no_entries(*_: object) -> dict[object, object]:
    """What stands in for a defaultdict, which the unpickler would not fill."""
    return {}


_STAND_INS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_no_entries, "collections.defaultdict"),
    *(
        (_Ignored, name)
        for name in (
            *("omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata", "omegaconf.nodes.AnyNode"),
            *("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig"),
            *("builtins.dict", "builtins.list", "builtins.int", "typing.Any"),
        )
    ),
]


def read(checkpoint: Checkpoint, first_code: FirstCode) -> tuple[Kind, DPRConfig, Weights]:
    """Read one model of a file.

    Args:
        checkpoint: its folder is the tokenizer's.
        first_code: the file, and what it does not say.

    Returns:
        The kind, the configuration, and the weights by their names in transformers' class.

    Raises:
        ExportError: the file cannot be read, would run code, holds no such model, or goes with another tokenizer.
    """
    kind = KINDS[first_code.kind]
    try:
        tokenizer = TOKENIZER_CLASSES[kind.name].from_pretrained(checkpoint.folder)
    except (OSError, ValueError) as error:
        raise ExportError(f"tokenizer {checkpoint.folder} cannot be read: {error}") from None
    state = _unpickled(checkpoint.name, first_code)
    _check_case(checkpoint, state, tokenizer)
    weights = _renamed(checkpoint.name, kind, state["model_dict"])
    config = _config(checkpoint.name, kind, weights, first_code.heads)
    config.pad_token_id = tokenizer.pad_token_id
    return kind, config, weights


def _unpickled(name: str, first_code: FirstCode) -> dict[str, Any]:
    path = first_code.file
    try:
        # Memory-mapped where the format allows: two thirds of a file are its optimizer's. Files of another pickle
        # protocol than PyTorch's make it warn before it refuses them.
        with torch.serialization.safe_globals(_STAND_INS), catch_warnings():
            simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # the unpickler raises whatever a damaged file leads it to
        if asked := re.search(r"GLOBAL (\S+)", str(error)):
            raise ExportError(
                f"{name} is refused: it asks for {asked.group(1)} when it is read, and nothing but weights is taken "
                "from a pickle, which could run any code"
            ) from None
        cause = type(error).__name__ if isinstance(error, UnpicklingError) else cause_of(error)
        raise ExportError(f"{name} is damaged, or no checkpoint of the first DPR code: {cause}") from None
    model = state.get("model_dict") if isinstance(state, dict) else None
    if not isinstance(model, Mapping):
        raise ExportError(f"{name} holds no model_dict, so it is no checkpoint of the first DPR code")
    for key, weight in model.items():
        if not (isinstance(key, str) and isinstance(weight, torch.Tensor) and _is_whole(weight)):
            raise ExportError(f"{name} is damaged: {key!r} in its model_dict is no weight")
    return dict(state)


def _is_whole(weight: torch.Tensor) -> bool:
    """Whether a tensor is of plain numbers, each of which is in the file: one may be a view that repeats a few."""
    plain = weight.layout is torch.strided and weight.device.type == "cpu" and not weight.is_nested
    if not plain or weight.is_complex() or weight.is_quantized:
        return False
    return weight.numel() * weight.element_size() <= weight.untyped_storage().nbytes()


def _check_case(checkpoint: Checkpoint, state: Mapping[str, Any], tokenizer: BertTokenizer) -> None:
    """Refuse a tokenizer that spells otherwise than the one that the model was trained with."""
    params = state.get("encoder_params")
    trained = params.get("do_lower_case") if isinstance(params, dict) else None
    if isinstance(trained, bool) and trained is not tokenizer.do_lower_case:
        raise ExportError(
            f"{checkpoint.name} was trained with do_lower_case {trained}, and tokenizer {checkpoint.folder} has "
            f"{tokenizer.do_lower_case}: put the right one into its tokenizer_config.json"
        )


def _held(model: Mapping[str, torch.Tensor]) -> list[str]:
    """The kinds that a file holds."""
    return [kind for kind, names in NAMES.items() if any(name.startswith(names.there) for name in model)]


def _renamed(name: str, kind: Kind, model: Mapping[str, torch.Tensor]) -> Weights:
    names, held = NAMES[kind.name], _held(model)
    if kind.name not in held:
        what = f"a {' and a '.join(held)} encoder" if "reader" not in held else "a reader"
        what = what if held else f"none of the first DPR code's models, but {', '.join(list(model)[:3]) or 'nothing'}"
        raise ExportError(f"kind is {kind.name!r}, and {name} holds {what}")
    weights = {}
    for key, weight in model.items():
        bare = key.removeprefix(names.there)
        if bare == key:
            if names.heads is not None:
                weights[names.heads + key] = weight
        elif names.unread is None or not bare.startswith(names.unread):
            weights[names.here + ("" if bare.startswith("encode_proj.") else "bert_model.") + bare] = weight
    return weights


def _config(name: str, kind: Kind, weights: Weights, heads: int | None) -> DPRConfig:
    """The configuration that the weights' shapes show; what they do not show is BERT's."""
    here = NAMES[kind.name].here
    bert = f"{here}bert_model."
    sizes = {}
    for size, (weight, dimension) in _SIZES.items():
        if bert + weight not in weights or weights[bert + weight].ndim != 2:
            raise ExportError(f"{name} lacks a weight of a {kind.architecture}, or has it in another shape: {weight}")
        sizes[size] = weights[bert + weight].shape[dimension]
    layers = {match.group(1) for key in weights if (match := re.search(r"\.encoder\.layer\.(\d+)\.", key))}
    projection = weights.get(f"{here}encode_proj.weight")
    if projection is not None and projection.ndim != 2:
        raise ExportError(f"{name} has encode_proj.weight in another shape than a matrix: {list(projection.shape)}")
    return DPRConfig.from_dict(
        {
            **sizes,
            "architectures": [kind.architecture],
            "num_hidden_layers": len(layers),
            "num_attention_heads": _heads(sizes["hidden_size"], heads),
            "projection_dim": 0 if projection is None else projection.shape[0],
        }
    )


def _heads(hidden_size: int, heads: int | None) -> int:
    if heads is None and hidden_size % HEAD_SIZE:
        raise ExportError(f"heads must be given (--heads): {HEAD_SIZE} does not divide the hidden size {hidden_size}")
    if heads is not None and hidden_size % heads:
        raise ExportError(f"heads is {heads}, and must divide the hidden size {hidden_size}")
    return heads or hidden_size // HEAD_SIZE
