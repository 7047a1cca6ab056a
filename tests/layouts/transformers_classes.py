"""Checkpoints that transformers' classes wrote: DPR's, BERT's, DistilBERT's and RoBERTa's, RAG, and shards."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file

from tests.layouts import vocabularies
from tests.layouts.original import Original, by_transformers, cls_of, mean_of, pooler_of, randomize
from tests.layouts.vocabularies import LENGTH

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "attn_implementation": "eager",
}
DISTILBERT: dict[str, Any] = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "attn_implementation": "eager"}
POOLINGS = {"cls": cls_of, "pooler": pooler_of, "mean": mean_of}
CONFIG, SAFE, BIN = "config.json", "model.safetensors", "pytorch_model.bin"


def build(name: str, tokenizer: Any, seed: int = 0, **config: Any) -> Any:
    """A model of a class of transformers, with random weights, for a tokenizer."""
    classes = getattr(transformers, name)
    sizes = DISTILBERT if name.startswith("Distil") else SIZES
    positions = LENGTH + (2 if tokenizer.pad_token_id == 1 else 0)  # RoBERTa's start after the padding's id
    defaults = {"vocab_size": len(tokenizer), "max_position_embeddings": positions}
    defaults |= {"pad_token_id": tokenizer.pad_token_id}
    if positions > LENGTH:
        defaults |= {"type_vocab_size": 1, "bos_token_id": 0, "eos_token_id": 2}
    return randomize(classes(classes.config_class(**{**sizes, **defaults, **config})), seed)


def save(model: Any, tokenizer: Any, folder: Path, **options: Any) -> None:
    model.save_pretrained(folder, **options)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def edit(folder: Path, file: str = CONFIG, **fields: Any) -> None:
    """Change fields of config.json, or of another file; None removes one."""
    path = folder / file
    config = json.loads(path.read_text(encoding="utf-8")) | fields
    kept = {name: value for name, value in config.items() if value is not None}
    path.write_text(json.dumps(kept, indent=2), encoding="utf-8")


def rename(folder: Path, change: Callable[[str], str]) -> None:
    """Write the weights again as pytorch_model.bin, by other names."""
    weights = {change(name): weight for name, weight in load_file(folder / SAFE).items()}
    (folder / SAFE).unlink()
    torch.save(weights, folder / BIN)


def dpr(folder: Path, kind: str = "question", seed: int = 0, **config: Any) -> Original:
    """DPR's own class, as transformers writes it."""
    tokenizer = vocabularies.bert()
    name = {"question": "DPRQuestionEncoder", "context": "DPRContextEncoder"}[kind]
    model = build(name, tokenizer, seed, **config)
    save(model, tokenizer, folder)
    return by_transformers(folder, kind, tokenizer, pooler_of(model))


def dpr_with(kind: str = "question", **fields: Any) -> Callable[[Path], Original]:
    """DPR's own class, with other fields in config.json."""

    def make(folder: Path) -> Original:
        original = dpr(folder, kind)
        edit(folder, **fields)
        return original

    return make


def dpr_named(prefix: str, kind: str = "question") -> Callable[[Path], Original]:
    """DPR's own class, each weight named with a prefix: `module.` of DataParallel, `model.` of Lightning."""

    def make(folder: Path) -> Original:
        original = dpr(folder, kind)
        rename(folder, lambda name: prefix + name)
        return original

    return make


def dpr_of_the_other_class(folder: Path) -> Original:
    """A context encoder that AutoModel loaded, and so saved, as a question encoder; config.json names the context's."""
    original = dpr(folder, "question")
    edit(folder, architectures=["DPRContextEncoder"])
    return by_kind(original, "context")


def by_kind(original: Original, kind: str) -> Original:
    return Original(original.source, {**original.options, "kind": kind}, kind, original.tokenize, original.vectors)


def dpr_without_tokenizer(folder: Path) -> Original:
    original = dpr(folder / "model")
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / "model" / name).rename(tokenizer / name)
    return Original(original.source, {"tokenizer": tokenizer}, original.kind, original.tokenize, original.vectors)


def rag(name: str) -> Callable[[Path], Original]:
    """RAG: a question encoder and a generator in one file, and a folder for the tokenizer of each."""

    def make(folder: Path) -> Original:
        tokenizer, generator_tokenizer = vocabularies.bert(), vocabularies.roberta()
        question = build("DPRQuestionEncoder", tokenizer)
        generator = transformers.BartForConditionalGeneration(
            transformers.BartConfig(
                vocab_size=len(generator_tokenizer), d_model=16, encoder_layers=1, decoder_layers=1,
                encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
                max_position_embeddings=LENGTH,
            )
        )  # fmt: skip
        config = transformers.RagConfig.from_question_encoder_generator_configs(question.config, generator.config)
        model = getattr(transformers, name)(config=config, question_encoder=question, generator=generator).eval()
        model.save_pretrained(folder)
        transformers.RagTokenizer(tokenizer, generator_tokenizer).save_pretrained(folder)
        encoder = model.question_encoder
        return by_transformers(folder, "question", tokenizer, lambda **columns: encoder(**columns)[0])

    return make


def plain(
    name: str, tokenizer: str, pooling: str = "cls", kind: str = "question", **config: Any
) -> Callable[[Path], Original]:
    """A class without a DPR encoder of its own, and the pooling that its users chose."""

    def make(folder: Path) -> Original:
        rows = getattr(vocabularies, tokenizer)()
        model = build(name, rows, **config)
        save(model, rows, folder)
        body = getattr(model, model.base_model_prefix, model)
        return by_transformers(folder, kind, rows, POOLINGS[pooling](body), {"kind": kind, "pooling": pooling})

    return make


def only(write: Callable[[Path], None], made: Callable[[Path], Original], **config: Any) -> Callable[[Path], Original]:
    """The same, with the tokenizer's first files in place of tokenizer.json."""

    def make(folder: Path) -> Original:
        original = made(folder)
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer_config.json").unlink()
        write(folder)
        if config:
            (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        return original

    return make


def pickled(made: Callable[[Path], Original]) -> Callable[[Path], Original]:
    """The same, as transformers 3 and 4 wrote it: a pickle, with the buffer of positions that BERT had then."""

    def make(folder: Path) -> Original:
        original = made(folder)
        weights = load_file(folder / SAFE)
        word = next(name for name in weights if name.endswith("embeddings.word_embeddings.weight"))
        weights[word.replace("word_embeddings.weight", "position_ids")] = torch.arange(LENGTH + 2)[None]
        (folder / SAFE).unlink()
        torch.save(weights, folder / BIN, _use_new_zipfile_serialization=False)
        return original

    return make


def sharded(folder: Path) -> Original:
    original = dpr(folder)
    model = transformers.DPRQuestionEncoder.from_pretrained(folder)
    (folder / SAFE).unlink()
    model.save_pretrained(folder, max_shard_size="30KB")
    return original


def sharded_bin(folder: Path) -> Original:
    """Shards of pickles, which transformers wrote until 4.57: the same index, with other names."""
    original = sharded(folder)
    index = json.loads((folder / f"{SAFE}.index.json").read_text(encoding="utf-8"))
    for name in sorted(set(index["weight_map"].values())):
        torch.save(load_file(folder / name), folder / _as_bin(name))
        (folder / name).unlink()
    index["weight_map"] = {key: _as_bin(name) for key, name in index["weight_map"].items()}
    (folder / f"{BIN}.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (folder / f"{SAFE}.index.json").unlink()
    return original


def _as_bin(name: str) -> str:
    return name.replace("model-", "pytorch_model-").replace(".safetensors", ".bin")


def tevatron(pooler: dict[str, Any] | None = None, kind: str = "question") -> Callable[[Path], Original]:
    """Tevatron 0.1 with untied encoders: query_model/ and passage_model/, and the tokenizer in the root."""

    def make(folder: Path) -> Original:
        tokenizer = vocabularies.bert()
        models = {part: build("BertModel", tokenizer, seed) for seed, part in enumerate(("query", "passage"))}
        for part, model in models.items():
            model.save_pretrained(folder / f"{part}_model")
        tokenizer.save_pretrained(folder)
        model = models["query" if kind == "question" else "passage"]
        return by_transformers(folder, kind, tokenizer, _tevatron_vector(folder, model, pooler, kind), {"kind": kind})

    return make


def _tevatron_vector(folder: Path, model: Any, pooler: dict[str, Any] | None, kind: str) -> Any:
    if pooler is None:
        return cls_of(model)
    heads = torch.nn.ModuleDict({f"linear_{part}": torch.nn.Linear(32, pooler["output_dim"]) for part in "qp"})
    torch.save(randomize(heads).state_dict(), folder / "pooler.pt")
    (folder / "pooler_config.json").write_text(json.dumps({"input_dim": 32, "tied": False, **pooler}), encoding="utf-8")
    head = heads["linear_q" if kind == "question" else "linear_p"]

    def compute(**columns: torch.Tensor) -> torch.Tensor:
        vector = head(cls_of(model)(**columns))
        return torch.nn.functional.normalize(vector, dim=-1) if pooler["normalize"] else vector

    return compute
