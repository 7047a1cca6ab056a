"""The model types whose layers are BERT's, and what makes BERT of each: names of weights, fields, embeddings.

A DPR encoder has BERT's layers. DistilBERT and the RoBERTa family compute the same with other names, so their weights
are loaded into BERT: DistilBERT adds no token types, which is adding zeros; RoBERTa's first token has the position
pad_token_id + 1, so the rows of its table before that are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dpr_export.exporter.errors import ExportError
from dpr_export.models.config import CONFIG_FILE

if TYPE_CHECKING:
    import torch

POSITIONS = "embeddings.position_embeddings.weight"
TOKEN_TYPES = "embeddings.token_type_embeddings.weight"


@dataclass(frozen=True, slots=True)
class Family:
    """Model types with the same names of weights and of fields in their configuration.

    Attributes:
        title: the name for people.
        renames: parts of the names of weights, with BERT's in their place, in the order of replacement.
        fields: fields of config.json by BERT's names.
        absent: the values of BERT's fields that config.json cannot have.
        defaults: the values of fields that config.json may lack, where they are not BERT's.
        positions_after_padding: whether positions start at pad_token_id + 1.
    """

    title: str
    renames: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    positions_after_padding: bool = False


BERT = Family("BERT")
DISTILBERT = Family(
    "DistilBERT",
    renames={
        "transformer.layer.": "encoder.layer.",
        ".attention.q_lin.": ".attention.self.query.",
        ".attention.k_lin.": ".attention.self.key.",
        ".attention.v_lin.": ".attention.self.value.",
        ".attention.out_lin.": ".attention.output.dense.",
        ".sa_layer_norm.": ".attention.output.LayerNorm.",
        ".ffn.lin1.": ".intermediate.dense.",
        ".ffn.lin2.": ".output.dense.",
        ".output_layer_norm.": ".output.LayerNorm.",
    },
    fields={
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
    },
    absent={"layer_norm_eps": 1e-12, "type_vocab_size": 2},
)
ROBERTA = Family("RoBERTa", defaults={"pad_token_id": 1}, positions_after_padding=True)

# By model_type in config.json. Files of DPR classes say "dpr", or "bert" if another program wrote them.
FAMILIES = {
    "dpr": BERT,
    "bert": BERT,
    "distilbert": DISTILBERT,
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
}

# By the beginning of the names of transformers' classes.
_CLASSES = {
    "Bert": BERT,
    "DistilBert": DISTILBERT,
    **dict.fromkeys(("Roberta", "XLMRoberta", "Camembert"), ROBERTA),
}


def find_family(config: Mapping[str, Any], is_dpr: bool, name: str) -> Family:
    """Return the family of the model that a config.json describes.

    Args:
        config: its content.
        is_dpr: whether the model is known to be a DPR class, which may lack a model type.
        name: the checkpoint's, for errors.

    Raises:
        ExportError: its model type is not in the table or not that of its class, or it names code of its own.
    """
    if code := config.get("auto_map"):
        raise ExportError(f"{name} has code of its own ({CONFIG_FILE} has auto_map {code}), and only weights are read")
    model_type = config.get("model_type", "dpr" if is_dpr else None)
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ExportError(
            f"model_type in {CONFIG_FILE} of {name} is {model_type!r}, and must be one of {', '.join(FAMILIES)}"
        )
    family, classes = FAMILIES[model_type], config.get("architectures")
    for named in classes if isinstance(classes, list) else []:
        of_class = next((of for start, of in _CLASSES.items() if str(named).startswith(start)), family)
        if of_class is not family:
            raise ExportError(f"model_type of {name} is {model_type!r}, but its class is {named}")
    return family


def as_bert_config(family: Family, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config.json with BERT's fields."""
    values = {**family.defaults, **config, **family.absent}
    for name, theirs in family.fields.items():
        if theirs in values:
            values[name] = values.pop(theirs)
    first, positions = _first_position(family, values), values.get("max_position_embeddings")
    if first and type(positions) is int:
        values["max_position_embeddings"] = positions - first
    return values


def as_bert_weights(
    family: Family, config: Mapping[str, Any], weights: Mapping[str, "torch.Tensor"]
) -> dict[str, "torch.Tensor"]:
    """Return weights by BERT's names, with BERT's tables of embeddings; `config` is that of `as_bert_config`."""
    renamed = {as_bert_name(family, name): weight for name, weight in weights.items()}
    if first := _first_position(family, config):
        renamed |= {POSITIONS: renamed[POSITIONS][first:]} if POSITIONS in renamed else {}
    if "type_vocab_size" in family.absent and "embeddings.word_embeddings.weight" in renamed:
        words = renamed["embeddings.word_embeddings.weight"]
        renamed[TOKEN_TYPES] = words.new_zeros(family.absent["type_vocab_size"], words.shape[-1])
    return renamed


def as_bert_name(family: Family, name: str) -> str:
    """Return BERT's name of a weight.

    >>> as_bert_name(DISTILBERT, "transformer.layer.3.attention.q_lin.bias")
    'encoder.layer.3.attention.self.query.bias'
    """
    for theirs, ours in family.renames.items():
        name = name.replace(theirs, ours)
    return name


def _first_position(family: Family, config: Mapping[str, Any]) -> int:
    padding = config.get("pad_token_id")
    return padding + 1 if family.positions_after_padding and type(padding) is int else 0
