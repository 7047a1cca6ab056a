"""The names of weights: what each library puts before and after those of BERT, and which it saves for other uses."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from dpr_export.models.kinds import KINDS, Kind

_Value = TypeVar("_Value")

# The first part of a name in transformers' DPR classes, by kind: "question_encoder", "ctx_encoder", "span_predictor".
_HEADS = {kind.encoder.partition(".")[0]: kind.name for kind in KINDS.values()}
# What else may stand before a name: wrappers for training (DDP, Lightning), and the models that BERT is a part of.
_BEFORE = {
    *_HEADS,
    *("module", "_orig_mod", "base_model", "model", "auto_model", "rag", "encoder"),
    *("bert_model", "bert", "roberta", "distilbert"),
}
# What every name of a DPR model ends with.
_NAME = re.compile(
    r"(?:^|\.)((?:embeddings|encoder\.layer|transformer\.layer|pooler|encode_proj|qa_outputs|qa_classifier)\..+)$"
)
_RENAMED = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}  # of 2018, from TensorFlow
# Weights that no encoder reads: the heads of pretraining, RAG's generator, and numbers that are not weights.
_UNREAD = re.compile(
    r"(^|\.)(cls\.(predictions|seq_relationship)\.|lm_head\.|vocab_(transform|layer_norm|projector)\.)"
    r"|^(rag\.)?generator\.|(^|\.)embeddings\.(position|token_type)_ids$"
)


@dataclass(frozen=True, slots=True)
class NamedWeights(Generic[_Value]):
    """The weights of a file by the last part of their name, such as `encoder.layer.0.output.dense.bias`.

    Attributes:
        by_kind: those whose name begins with the model of a DPR class, by its kind; else under "", if there are none.
        foreign: the names that belong to no DPR model, or are there twice.
    """

    by_kind: dict[str, dict[str, _Value]] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)


def name_weights(weights: Mapping[str, _Value]) -> NamedWeights[_Value]:
    """Sort the weights of a file by kind and name.

    >>> name = "module.ctx_encoder.bert_model.embeddings.LayerNorm.gamma"
    >>> name_weights({name: 1, "cls.predictions.bias": 2, "other": 3})
    NamedWeights(by_kind={'context': {'embeddings.LayerNorm.weight': 1}}, foreign=['other'])
    """
    named: NamedWeights[_Value] = NamedWeights()
    for key, value in weights.items():
        if _UNREAD.search(key):
            continue
        found = _NAME.search(key)
        before = key[: found.start(1)].rstrip(".").split(".") if found and found.start(1) else []
        if found is None or not _BEFORE.issuperset(before):
            named.foreign.append(key)
            continue
        name = found[1]
        for old, new in _RENAMED.items():
            name = name.replace(old, new)
        kind = next((_HEADS[part] for part in before if part in _HEADS), "")
        group = named.by_kind.setdefault(kind, {})
        if name in group:
            named.foreign.append(key)
        group[name] = value
    kinds = [kind for kind in named.by_kind if kind]
    if (
        "" in named.by_kind
        and len(kinds) == 1
        and all(name.startswith("encode_proj.") for name in named.by_kind[kinds[0]])
    ):
        named.by_kind[""] |= named.by_kind.pop(kinds[0])  # as haystack writes an encoder that was made of BERT
    if len(named.by_kind) > 1:
        named.foreign.extend(named.by_kind.pop("", {}))
    return named


def as_dpr_name(kind: Kind, name: str) -> str:
    """Return the name in transformers' DPR class of a weight that BERT, or that class, has.

    >>> as_dpr_name(KINDS["context"], "embeddings.LayerNorm.weight")
    'ctx_encoder.bert_model.embeddings.LayerNorm.weight'
    >>> as_dpr_name(KINDS["reader"], "qa_outputs.bias"), as_dpr_name(KINDS["question"], "encode_proj.bias")
    ('span_predictor.qa_outputs.bias', 'question_encoder.encode_proj.bias')
    """
    first = name.partition(".")[0]
    if first.startswith("qa_"):
        return f"{kind.encoder.partition('.')[0]}.{name}"
    return f"{kind.encoder}.{name}" if first in ("encode_proj", "pooler") else f"{kind.encoder}.bert_model.{name}"


def first_names(names: Iterable[str]) -> str:
    """Return the first three names for a message.

    >>> first_names(["a", "b", "c", "d"])
    'a, b, c, ...'
    """
    names = list(names)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
