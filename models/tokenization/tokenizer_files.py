"""Read a checkpoint's tokenizer files into a `tokenizers.Tokenizer`, and write them.

As in transformers 4 (and BertTokenizerFast of 5), tokenizer_config.json overrides tokenizer.json; older checkpoints
have special_tokens_map.json and added_tokens.json instead of `added_tokens_decoder`. Chat templates are ignored.
The models of RoBERTa's family, and classes of transformers that only hold a tokenizer.json, keep what it says.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordPiece

from dpr_export.models.artifact.git_lfs import check_no_pointer
from dpr_export.models.artifact.records import read_json
from dpr_export.models.export_command import export_command
from dpr_export.models.tokenization.row_templates import BERT, ROBERTA, find_template
from dpr_export.models.tokenization.tokenizer_classes import BERT_CLASSES, CLASSES, find_class

UNBOUNDED = int(1e30)  # model_max_length if no file names one: transformers' value for "no limit"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)
BERT_OPTIONS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
MODELS = (WordPiece, BPE, Unigram)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerOptions:
    """The options of tokenizer_config.json that change ids, rows or text.

    Attributes:
        do_lower_case: lower-case every text. This and the next two belong to BERT's normalizer.
        strip_accents: remove combining marks; None follows do_lower_case.
        tokenize_chinese_chars: put spaces around CJK ideographs.
        model_max_length: the largest number of tokens of a row; `UNBOUNDED` for no limit.
        clean_up_tokenization_spaces: whether `decode` joins "don ' t" to "don't".
        padding_side, truncation_side: "right" or "left".
        additional_special_tokens: more tokens that are never split, and that skip_special_tokens omits.
    """

    do_lower_case: bool = True
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool = True
    model_max_length: int = UNBOUNDED
    clean_up_tokenization_spaces: bool = False
    padding_side: str = "right"
    truncation_side: str = "right"
    unk_token: str
    sep_token: str
    pad_token: str
    cls_token: str
    mask_token: str
    bos_token: str | None = None  # of RoBERTa's rows, as is the next
    eos_token: str | None = None
    additional_special_tokens: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("padding_side", "truncation_side"):
            if getattr(self, name) not in ("right", "left"):
                raise ValueError(f'{name} is {getattr(self, name)!r}, but must be "right" or "left"')
        for name in ("do_lower_case", "tokenize_chinese_chars", "strip_accents"):
            value = getattr(self, name)
            if not isinstance(value, bool) and not (name == "strip_accents" and value is None):
                raise ValueError(f"{name} is {value!r}, but must be true or false")


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
    options = replace(_options(config, {**template.special_tokens, **ends}), **overrides)
    unchanged = {name: value for name, value in config.items() if name not in overrides}
    added = _added_tokens(folder, config, options) + _special_tokens(options, unchanged)
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


def read_config(folder: Path) -> dict[str, Any]:
    """Return the options of the configuration files, merged."""
    config = _read_object(folder / "tokenizer_config.json")
    if "added_tokens_decoder" not in config:
        config |= _read_object(folder / "special_tokens_map.json")
    if config.get("tokenizer_class") is None:
        config["tokenizer_class"] = _read_object(folder / "config.json").get("tokenizer_class")
    return config


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


def _read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; an empty one if there is no such file."""
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, but must hold an object")
    return content


def _options(config: dict[str, Any], special_tokens: Mapping[str, str]) -> TokenizerOptions:
    """Read the options from the merged configuration files, whose tokens are strings or objects.

    `special_tokens` has the name of each special token that the files do not name.
    """
    names = {field.name for field in fields(TokenizerOptions)} - {"additional_special_tokens", "model_max_length"}
    known = {name: value for name, value in config.items() if name in names and not name.endswith("_token")}
    for name, default in special_tokens.items():
        known[name] = default if config.get(name) is None else _added_token(config[name]).content
    longest = config.get("model_max_length", config.get("max_len"))
    longest = UNBOUNDED if longest is None else longest
    if isinstance(longest, bool) or not isinstance(longest, int | float) or not 0 <= longest < float("inf"):
        raise ValueError(f"model_max_length is {longest!r}, but must be a number from 0")
    return TokenizerOptions(
        **known,
        model_max_length=int(longest),
        additional_special_tokens=tuple(_added_token(token).content for token in _extra(config)),
    )


def _extra(config: dict[str, Any]) -> list[Any]:
    extra = config.get("additional_special_tokens") or config.get("extra_special_tokens") or []
    if not isinstance(extra, list | tuple | dict):
        raise ValueError(f"additional_special_tokens is {extra!r}, but must be a list of tokens")
    return list(extra.values()) if isinstance(extra, dict) else list(extra)


def _added_tokens(folder: Path, config: dict[str, Any], options: TokenizerOptions) -> list[AddedToken]:
    """Return the tokens that were added to the vocabulary, in the order of their ids."""
    special = set(_named(options).values()) | set(options.additional_special_tokens)
    listed = config.get("added_tokens_decoder")
    if listed is None:
        ids = _read_object(folder / "added_tokens.json")
        if not all(type(number) is int for number in ids.values()):
            raise ValueError(f"{folder / 'added_tokens.json'} holds an id that is no whole number")
        return [_added_token(token, token in special) for token in sorted(ids, key=ids.__getitem__)]
    if not isinstance(listed, dict):
        raise ValueError(f"added_tokens_decoder is of type {type(listed).__name__}, but must map ids to tokens")
    tokens = [listed[number] for number in sorted(listed, key=int)]
    return [_added_token(token, isinstance(token, dict) and token.get("content") in special) for token in tokens]


def _named(options: TokenizerOptions) -> dict[str, str]:
    """Return the special tokens that a tokenizer has, by name."""
    tokens = ((name, getattr(options, name)) for name in ROBERTA.special_tokens)
    return {name: token for name, token in tokens if token is not None}


def _special_tokens(options: TokenizerOptions, config: dict[str, Any]) -> list[AddedToken]:
    """Return the special tokens with the flags that the configuration files give them."""
    named = [config.get(name) or token for name, token in _named(options).items()]
    return [_added_token(token) for token in [*named, *(_extra(config) or options.additional_special_tokens)]]


def _added_token(token: Any, special: bool = True) -> AddedToken:
    """Build a token from a string, or from an object such as {"content": "[CLS]", "lstrip": false}."""
    values = {"content": token} if isinstance(token, str) else token
    if not isinstance(values, dict) or not isinstance(values.get("content"), str) or not values["content"]:
        raise ValueError(f"the tokenizer's files name the token {token!r}, but a token is a string or has a content")
    flags = {name: values[name] for name in ("single_word", "lstrip", "rstrip", "normalized") if name in values}
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} of the token {values['content']!r} is {value!r}, but must be true or false")
    if isinstance(token, str):
        flags["normalized"] = not special
    return AddedToken(values["content"], **flags, special=bool(values.get("special", special)) or special)
