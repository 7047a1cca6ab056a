"""The pretrained encoder that the demo adapters are trained on, all-MiniLM-L6-v2, as PyTorch models.

It is a BERT of 6 layers and 384 units with bert-base-uncased's vocabulary.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from dpr_export.exporter.demo import checkpoint
from dpr_export.models.telemetry import no_telemetry

with no_telemetry():
    from transformers import DPRConfig, DPRContextEncoder, DPRQuestionEncoder, DPRReader

BASE_NAME = "sentence-transformers/all-MiniLM-L6-v2"
DPRModel = DPRReader | DPRQuestionEncoder | DPRContextEncoder
MODELS: dict[str, type[DPRModel]] = {
    "question": DPRQuestionEncoder,
    "context": DPRContextEncoder,
    "reader": DPRReader,
}


def base_tokenizer(kind: str) -> Tokenizer:
    """The pretrained encoder's tokenizer, without truncation and padding."""
    tokenizer = Tokenizer.from_file(str(checkpoint.base_folder(kind) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def base_config(kind: str) -> DPRConfig:
    """The configuration of a DPR model on the pretrained encoder."""
    return DPRConfig.from_dict(checkpoint.base_config(kind))


def base_model(kind: str, config: DPRConfig | None = None) -> DPRModel:
    """A DPR model on the pretrained encoder. A reader's heads are new, from torch's seed.

    Args:
        kind: "question", "context" or "reader".
        config: None: that of `base_config`.

    Raises:
        ValueError: the pretrained weights do not fill the encoder.
    """
    model = MODELS[kind](config or base_config(kind))
    prefix = checkpoint.PREFIXES[kind]
    weights = load_file(checkpoint.base_folder(kind) / "model.safetensors")
    named = {prefix + name: value for name, value in weights.items() if not name.startswith("pooler.")}
    missing, _ = model.load_state_dict(named, strict=False)
    if unfilled := [name for name in missing if name.startswith(prefix)]:
        raise ValueError(f"{checkpoint.PACKAGE} lacks {unfilled[0]} and {len(unfilled) - 1} more weights")
    return model


def merged_model(kind: str, adapters: Path = checkpoint.ADAPTERS) -> DPRModel:
    """A DPR model with its adapter merged in, in float32 and evaluation mode."""
    model = base_model(kind)
    weights = {name: torch.from_numpy(value) for name, value in checkpoint.merge_adapter(kind, adapters).items()}
    model.load_state_dict(weights, strict=False)
    return model.eval()


@contextmanager
def ignore_peft_warning() -> Iterator[None]:
    """Ignore a warning of peft 0.21, which reads an attribute that transformers 5.23 renamed; its value is the same."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def mean_pooled(model: DPRModel, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The vectors that all-MiniLM-L6-v2 was trained to return: the mean of the last layer, normalized to length one.

    Args:
        model: an untrained DPR encoder.
        ids: (batch, sequence).
        mask: (batch, sequence), 1 for real tokens.

    Returns:
        (batch, 384).
    """
    last = model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[-1]
    weights = mask.unsqueeze(-1).to(last.dtype)
    return torch.nn.functional.normalize((last * weights).sum(1) / weights.sum(1), dim=-1)
