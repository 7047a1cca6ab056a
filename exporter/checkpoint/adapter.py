"""Merge a LoRA adapter of PEFT into the weights of its base: W + alpha / r x B A, for each linear layer that has one.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021. Other kinds of adapters are refused.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dpr_export.exporter.checkpoint.weight_names import first_names, name_weights
from dpr_export.exporter.errors import ExportError

if TYPE_CHECKING:
    import torch

ADAPTER_CONFIG = "adapter_config.json"
_PREFIX = "base_model.model."
_PART = re.compile(r"(.+)\.lora_([AB])\.weight")
# The fields of adapter_config.json that are read here, or change nothing once an adapter is trained. Each further one
# that is set may change what the adapter computes.
_KNOWN = {
    *(
        "peft_type",
        "peft_version",
        "task_type",
        "auto_mapping",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
    ),
    *("r", "lora_alpha", "rank_pattern", "alpha_pattern", "lora_dropout", "bias", "init_lora_weights"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save"),
    *("eva_config", "megatron_core", "qalora_group_size"),  # set to a default that is not read without other fields
    "fan_in_fan_out",  # PEFT clears it for linear layers, the only ones that can be merged here
}
_REPEATED = re.compile(r"\)[*+{]")
_UNCHANGED_BASE = (True, False, None, "gaussian", "eva", "orthogonal")  # values of init_lora_weights


def find_base(config: Mapping[str, Any], name: str) -> str:
    """Return the base model that an adapter_config.json names; `name` is the adapter's.

    Raises:
        ExportError: it is not plain LoRA, or names no base model.
    """
    if config.get("peft_type") != "LORA":
        raise ExportError(f"{name} is an adapter of type {config.get('peft_type')!r}, and only LORA can be merged")
    more = sorted(field for field, value in config.items() if value and field not in _KNOWN)
    if config.get("init_lora_weights") not in _UNCHANGED_BASE:
        more.append(f"init_lora_weights {config['init_lora_weights']!r}")
    if more:
        raise ExportError(f"{name} is an adapter with {', '.join(more)}, and only plain LoRA can be merged")
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ExportError(f"{ADAPTER_CONFIG} of {name} names no base_model_name_or_path")
    return base


def merge_adapter(
    base: Mapping[str, "torch.Tensor"], adapter: Mapping[str, "torch.Tensor"], config: Mapping[str, Any], name: str
) -> dict[str, "torch.Tensor"]:
    """Return the weights of a base with an adapter merged into them, which is done in float32.

    Args:
        base: weights by the names that `name_weights` gives.
        adapter: the content of the adapter's file.
        config: the content of adapter_config.json.
        name: the adapter's, for errors.

    Raises:
        ExportError: a weight of the adapter fits none of the base.
    """
    factors: dict[str, dict[str, torch.Tensor]] = {}
    whole: dict[str, torch.Tensor] = {}  # biases and layers that were trained as they are
    for key, weight in adapter.items():
        if not weight.is_floating_point():
            raise ExportError(f"{key} in {name} is of type {weight.dtype}, and must be floating point")
        if found := _PART.fullmatch(key.removeprefix(_PREFIX)):
            factors.setdefault(found[1], {})[found[2]] = weight.float()
        else:
            whole[key.removeprefix(_PREFIX).replace(".base_layer.", ".")] = weight
    if apart := [module for module, both in factors.items() if not _are_factors(both)]:
        raise ExportError(f"{name} lacks lora_A or lora_B of {first_names(apart)}, or has them in other shapes")
    _fitting({f"{module}.weight": _shape_of(both) for module, both in factors.items()}, base, name)
    changes = {
        f"{module}.weight": _scale(config, module, len(both["A"]), name) * (both["B"] @ both["A"])
        for module, both in factors.items()
    }
    replaced, changed = _fitting(whole, base, name), _fitting(changes, base, name)
    if lost := sorted(_expected(config, base, changed) - replaced.keys() - changed.keys()):
        raise ExportError(f"{name} lacks {first_names(lost)}, which it should have by {ADAPTER_CONFIG}")
    merged = {**base, **replaced}
    for key, change in changed.items():
        merged[key] = merged[key].float() + change
    return merged


def _are_factors(both: Mapping[str, "torch.Tensor"]) -> bool:
    """Whether there are A (r, in) and B (out, r)."""
    if both.keys() != {"A", "B"} or not both["A"].ndim == both["B"].ndim == 2:
        return False
    return both["A"].shape[0] == both["B"].shape[1] > 0


def _shape_of(both: Mapping[str, "torch.Tensor"]) -> "torch.Tensor":
    """Return a tensor without values, of the shape of B A: small factors may have a huge product."""
    return both["B"][:, :1].to("meta").expand(-1, both["A"].shape[1])


def _fitting(
    weights: Mapping[str, "torch.Tensor"], base: Mapping[str, "torch.Tensor"], name: str
) -> dict[str, "torch.Tensor"]:
    """Return an adapter's weights by their names in the base; an ExportError names those that fit none there."""
    named = name_weights(weights)
    found = {key: weight for group in named.by_kind.values() for key, weight in group.items()}
    foreign = [*named.foreign, *(key for key in found if key not in base or base[key].shape != found[key].shape)]
    if foreign:
        raise ExportError(f"{name} has {len(foreign)} weights that fit none of its base: {first_names(foreign)}")
    return found


def _expected(config: Mapping[str, Any], base: Iterable[str], changed: Iterable[str]) -> set[str]:
    """Return the weights of the base that the configuration says are in the adapter, as far as it names them."""
    layers = [key for key in base if key.partition(".")[0] in ("embeddings", "encoder", "transformer")]
    targets, saved = config.get("target_modules"), config.get("modules_to_save")
    saved = saved if isinstance(saved, list) else []
    expected = {key for key in base if any(f".{module}." in f".{key}" for module in saved)}
    if isinstance(targets, list) and not (config.get("layers_to_transform") or config.get("exclude_modules")):
        expected |= {key for key in layers if key.startswith(("encoder", "transformer")) and _is_target(key, targets)}
    if config.get("bias") == "all":
        expected |= {key for key in layers if key.endswith(".bias")}
    if config.get("bias") == "lora_only":
        expected |= {key.removesuffix("weight") + "bias" for key in changed}
    return expected


def _is_target(key: str, targets: Iterable[Any]) -> bool:
    """Whether a weight is the matrix of a module that one of `targets` names, whole or by its end after a dot."""
    return any(f".{key}".endswith(f".{target}.weight") for target in targets)


def _scale(config: Mapping[str, Any], module: str, rows: int, name: str) -> float:
    """Return alpha / r of a module, whose A has so many rows."""
    values = []
    for field, patterns, default in (("lora_alpha", "alpha_pattern", 8), ("r", "rank_pattern", 8)):
        own = config.get(patterns) or {}
        if not isinstance(own, Mapping):
            raise ExportError(f"{patterns} of {name} is {own!r}, and must be an object")
        if refused := [key for key in own if _REPEATED.search(key)]:
            raise ExportError(f"{patterns} of {name} has {refused[0]!r}: a repeated group could take for ever to match")
        found = [value for key, value in own.items() if _ends_with(module, key)]
        value = found[0] if found else config.get(field, default)
        if type(value) not in (int, float):
            raise ExportError(f"{field} of {name} is {value!r}, and must be a number")
        values.append(value)
    alpha, rank = values
    if rank != rows:
        raise ExportError(f"r of {name} is {rank}, but lora_A of {module} has {rows} rows")
    return float(alpha) / rows


def _ends_with(module: str, pattern: str) -> bool:
    """Whether a module's name, or its end after a dot, matches a regular expression, as in PEFT.

    >>> _ends_with("encoder.layer.1.attention.self.query", "query"), _ends_with("a.subquery", "query")
    (True, False)
    """
    try:
        return re.fullmatch(rf"(.*\.)?({pattern})", module) is not None
    except re.error:
        return False
