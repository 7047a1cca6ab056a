"""Read the options and the special tokens of a tokenizer from its configuration files.

Older checkpoints have special_tokens_map.json and added_tokens.json instead of `added_tokens_decoder` in
tokenizer_config.json. Chat templates are ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from dpr_export.models.artifact.records import read_json
from dpr_export.models.tokenization.row_templates import ROBERTA

UNBOUNDED = int(1e30)  # model_max_length if no file names one: transformers' value for "no limit"
BERT_OPTIONS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")


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


def read_config(folder: Path) -> dict[str, Any]:
    """Return the options of the configuration files, merged."""
    config = _read_object(folder / "tokenizer_config.json")
    if "added_tokens_decoder" not in config:
        config |= _read_object(folder / "special_tokens_map.json")
    if config.get("tokenizer_class") is None:
        config["tokenizer_class"] = _read_object(folder / "config.json").get("tokenizer_class")
    return config


def read_options(config: dict[str, Any], special_tokens: Mapping[str, str]) -> TokenizerOptions:
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


def read_added_tokens(folder: Path, config: dict[str, Any], options: TokenizerOptions) -> list[AddedToken]:
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


def read_special_tokens(options: TokenizerOptions, config: dict[str, Any]) -> list[AddedToken]:
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


def _read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; an empty one if there is no such file."""
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, but must hold an object")
    return content
