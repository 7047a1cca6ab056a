"""Read a checkpoint's tokenizer files into a `tokenizers.Tokenizer`, and write them.

As in transformers 4 (and BertTokenizerFast of 5), tokenizer_config.json overrides tokenizer.json. The models of
RoBERTa's family, and classes of transformers that only hold a tokenizer.json, keep what it says.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordPiece

from dpr_export.models.artifact.git_lfs import check_no_pointer
from dpr_export.models.export_command import export_command
from dpr_export.models.tokenization.row_templates import BERT, ROBERTA, find_template
from dpr_export.models.tokenization.tokenizer_classes import BERT_CLASSES, CLASSES, find_class
from dpr_export.models.tokenization.tokenizer_options import (
    BERT_OPTIONS,
    TokenizerOptions,
    read_added_tokens,
    read_config,
    read_options,
    read_special_tokens,
)

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)
MODELS = (WordPiece, BPE, Unigram)


def load(folder: str | Path, overrides: dict[str, Any]) -> tuple[Tokenizer, TokenizerOptions]:
    """Read the tokenizer of a folder, and its options.

    Args:
        folder: a folder with tokenizer.json or vocab.txt, and usually tokenizer_config.json.
        overrides: fields of `TokenizerOptions` that override the files.

    Raises:
        OSError: the folder has neither file.
        ValueError: a file cannot be read, or describes a tokenizer of another kind.
        TypeError: an override is no field of `TokenizerOptions`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise OSError(f"there is no folder {folder}. This command makes an exported one: {export_command(folder)}")
    path = folder / "tokenizer.json"
    if not path.is_file() and not (folder / "vocab.txt").is_file():
        raise OSError(f"{folder} holds no tokenizer: looked for tokenizer.json and vocab.txt")
    config = read_config(folder)
    class_name = find_class(config)
    backend = _read_json(path) if path.is_file() else None
    template, ends = (BERT, {}) if backend is None else find_template(backend)
    if CLASSES[class_name] not in (None, template):
        raise ValueError(f"tokenizer_class is {class_name!r}, but {path.name} makes {template.name}'s rows")
    is_bert = backend is None or (class_name in BERT_CLASSES and isinstance(backend.model, WordPiece))
    if backend is not None and not is_bert:
        config |= _normalizer_options(backend, overrides)
    options = replace(read_options(config, {**template.special_tokens, **ends}), **overrides)
    unchanged = {name: value for name, value in config.items() if name not in overrides}
    added = read_added_tokens(folder, config, options) + read_special_tokens(options, unchanged)
    if backend is None:
        path = folder / "vocab.txt"
        backend = _read_vocab(path, options)
    elif class_name == "RobertaTokenizer":
        _set_prefix_space(backend, config)
    for name, token in ends.items():
        if not is_bert and name not in overrides and getattr(options, name) != token:
            raise ValueError(f"{name} is {getattr(options, name)!r}, but rows in {path} have {token!r} in its place")
    _configure(backend, options, added, path, is_bert)
    return backend, options


def save(folder: str | Path, backend: Tokenizer, options: TokenizerOptions, class_name: str) -> tuple[str, ...]:
    """Write tokenizer.json and tokenizer_config.json, which transformers reads too, and return their paths.

    transformers' DPR classes are BERT's: of any other tokenizer, the class that keeps tokenizer.json is named instead
    of `class_name`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "tokenizer_config.json", folder / "tokenizer.json"
    config = {name: value for name, value in asdict(options).items() if name not in _unused(backend, options)}
    config["tokenizer_class"] = class_name if _is_berts(backend) else "PreTrainedTokenizerFast"
    paths[0].write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    paths[1].write_text(backend.to_str(pretty=True), encoding="utf-8")  # its own save raises no OSError
    return tuple(str(path) for path in paths)


def _is_berts(backend: Tokenizer) -> bool:
    """Return whether transformers' BERT classes, which rebuild a tokenizer from its vocabulary, build the same one."""
    parts = isinstance(backend.normalizer, normalizers.BertNormalizer), isinstance(backend.model, WordPiece)
    return (
        all(parts)
        and isinstance(backend.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
        and find_template(backend)[0] is BERT
    )


def _unused(backend: Tokenizer, options: TokenizerOptions) -> set[str]:
    """Return the options that a tokenizer does not have."""
    unused = {name for name in ROBERTA.special_tokens if getattr(options, name) is None}
    return unused if isinstance(backend.normalizer, normalizers.BertNormalizer) else unused | set(BERT_OPTIONS)


def _read_json(path: Path) -> Tokenizer:
    check_no_pointer(path)
    try:
        backend = Tokenizer.from_str(path.read_text(encoding="utf-8-sig"))
    except Exception as error:  # the library raises nothing more specific
        raise ValueError(f"{path} cannot be read as a tokenizer: {error}") from error
    if not isinstance(backend.model, MODELS):
        known = ", ".join(model.__name__ for model in MODELS)
        raise ValueError(f"{path} holds a {type(backend.model).__name__} model, but DPR's tokenizers are {known}")
    return backend


def _read_vocab(path: Path, options: TokenizerOptions) -> Tokenizer:
    check_no_pointer(path)
    with path.open(encoding="utf-8-sig") as lines:
        vocabulary = {line.rstrip("\n"): number for number, line in enumerate(lines)}
    backend = Tokenizer(WordPiece(vocabulary, unk_token=options.unk_token, max_input_chars_per_word=100))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


def _normalizer_options(backend: Tokenizer, overrides: dict[str, Any]) -> dict[str, Any]:
    """Return BERT's options as the normalizer in tokenizer.json has them; all off where it is not BERT's."""
    normalizer = backend.normalizer
    if isinstance(normalizer, normalizers.BertNormalizer):
        values = normalizer.lowercase, normalizer.strip_accents, normalizer.handle_chinese_chars
        return dict(zip(BERT_OPTIONS, values, strict=True))
    if refused := [name for name in BERT_OPTIONS if name in overrides]:
        raise ValueError(f"{refused[0]} is an option of BERT's normalizer, which this tokenizer does not have")
    return dict(zip(BERT_OPTIONS, (False, None, False), strict=True))


def _set_prefix_space(backend: Tokenizer, config: dict[str, Any]) -> None:
    """Let a byte-level tokenizer begin texts with a space or not: transformers' class follows the configuration."""
    if isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel):
        backend.pre_tokenizer.add_prefix_space = bool(config.get("add_prefix_space", False))
        if isinstance(backend.post_processor, processors.RobertaProcessing):
            backend.post_processor.add_prefix_space = backend.pre_tokenizer.add_prefix_space


def _configure(
    backend: Tokenizer, options: TokenizerOptions, added: Iterable[AddedToken], path: Path, is_bert: bool
) -> None:
    """Apply the options and added tokens to a tokenizer, and turn off its truncation and padding."""
    if backend.model.token_to_id(options.unk_token) is None:
        raise ValueError(f"{path} has no {options.unk_token!r}, which unknown words become (unk_token)")
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = False
    if isinstance(backend.normalizer, normalizers.BertNormalizer) or (is_bert and backend.normalizer is None):
        backend.normalizer = normalizers.BertNormalizer(
            clean_text=getattr(backend.normalizer, "clean_text", True),
            handle_chinese_chars=options.tokenize_chinese_chars,
            strip_accents=options.strip_accents,
            lowercase=options.do_lower_case,
        )
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    for token in added:
        if token.content not in known:
            backend.add_tokens([token])
            known.add(token.content)
