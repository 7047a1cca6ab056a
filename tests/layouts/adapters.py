"""LoRA adapters that peft wrote, beside the base model that they name; compared with PeftModel's own outputs."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.layouts import vocabularies
from tests.layouts.original import Original, by_transformers, cls_of, pooler_of, randomize
from tests.layouts.transformers_classes import build, edit, save

ATTENTION = ["query", "value"]


def adapter(
    name: str = "BertModel",
    pooling: str = "cls",
    kind: str = "question",
    safe: bool = True,
    tokenizer_in_adapter: bool = True,
    **config: Any,
) -> Callable[[Path], Original]:
    """A base model and its adapter. `config` is LoraConfig's."""

    def make(folder: Path) -> Original:
        import peft

        tokenizer = vocabularies.bert()
        base, output = folder / "base", folder / "adapter"
        save(build(name, tokenizer), tokenizer, base)
        model = type(build(name, tokenizer)).from_pretrained(base, attn_implementation="eager")
        lora = {"r": 4, "lora_alpha": 8, "target_modules": ATTENTION, "lora_dropout": 0.1, **config}
        adapted = quietly(peft.get_peft_model, model, peft.LoraConfig(**lora))
        _randomize_trained(adapted)
        adapted.save_pretrained(output, safe_serialization=safe)
        if config.get("fan_in_fan_out"):  # peft has written false, since these layers are Linear, and ignores it there
            edit(output, "adapter_config.json", fan_in_fan_out=True)
        if tokenizer_in_adapter:
            tokenizer.save_pretrained(output)
        is_dpr = name.startswith("DPR")
        options = {} if is_dpr else {"kind": kind, "pooling": pooling}
        read = type(model).from_pretrained(base, attn_implementation="eager")
        original = quietly(peft.PeftModel.from_pretrained, read, output).eval()
        compute = pooler_of(original) if is_dpr or pooling == "pooler" else cls_of(original)
        return by_transformers(output, kind, tokenizer, compute, options)

    return make


def quietly(make: Callable[..., Any], *arguments: Any) -> Any:
    """Without peft's warnings: of transformers' new names, and of fan_in_fan_out, which it corrects."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(*arguments)


def _randomize_trained(model: torch.nn.Module) -> None:
    """Draw what an adapter's training changes: lora_B starts as zeros."""
    trained = torch.nn.ParameterList([weight for weight in model.parameters() if weight.requires_grad])
    randomize(trained, seed=7)
