"""Read a checkpoint's tokenizer files into a `tokenizers.Tokenizer`, and write them.

The vocabulary is read from tokenizer.json, or else from vocab.txt. For lower-casing, accents and Chinese characters,
tokenizer_config.json overrides tokenizer.json, and BERT's defaults apply to what it does not set, as in transformers 4
and in BertTokenizerFast of 5. special_tokens_map.json and added_tokens.json are read if tokenizer_config.json has no
`added_tokens_decoder`, which is so in older checkpoints.

Not supported: chat templates and training.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from dpr_export.models.export_command import export_command

UNBOUNDED = int(1e30)  # model_max_length if no file names one: transformers' value for "no limit"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)
SPECIAL_TOKENS = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True, slots=True)
class TokenizerOptions:
    """The options of tokenizer_config.json that change ids, rows or text.

    Attributes:
        do_lower_case: lower-case every text.
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
    unk_token: str = "[UNK]"
    sep_token: str = "[SEP]"
    pad_token: str = "[PAD]"
    cls_token: str = "[CLS]"
    mask_token: str = "[MASK]"
    additional_special_tokens: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("padding_side", "truncation_side"):
            if getattr(self, name) not in ("right", "left"):
                raise ValueError(f'{name} is {getattr(self, name)!r}, but must be "right" or "left"')
        for name in ("do_lower_case", "tokenize_chinese_chars", "strip_accents"):
            value = getattr(self, name)
            if not isinstance(value, bool) and not (name == "strip_accents" and value is None):
                raise ValueError(f"{name} is {value!r}, but must be true or false")


def from_vocab(path: str | Path, options: TokenizerOptions | None = None) -> Tokenizer:
    """Build BERT's tokenizer from a vocab.txt: one token a line, whose id is the line's number from 0.

    Args:
        path: the vocab.txt.
        options: None: BERT's defaults.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not UTF-8, or lacks the unknown token.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "vocab.txt").write_text("\\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "love"]))
    ...     from_vocab(Path(folder, "vocab.txt")).encode("Love?").tokens
    ['[CLS]', 'love', '[UNK]', '[SEP]']
    """
    options = options or TokenizerOptions()
    return _configure(_read_vocab(Path(path), options), options, _special_tokens(options, {}), Path(path))


def load(folder: str | Path, overrides: dict[str, Any]) -> tuple[Tokenizer, TokenizerOptions]:
    """Read the tokenizer of a folder, and its options.

    Args:
        folder: a folder with tokenizer.json or vocab.txt, and usually tokenizer_config.json.
        overrides: fields of `TokenizerOptions` that override the files.

    Raises:
        OSError: the folder has neither file.
        ValueError: a file cannot be read, or describes no WordPiece tokenizer.
        TypeError: an override is no field of `TokenizerOptions`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise OSError(f"there is no folder {folder}. This command makes an exported one: {export_command(folder)}")
    path = folder / "tokenizer.json"
    if not path.is_file() and not (folder / "vocab.txt").is_file():
        raise OSError(f"{folder} holds no tokenizer: looked for tokenizer.json and vocab.txt")
    config = _read_json(folder / "tokenizer_config.json")
    if "added_tokens_decoder" not in config:
        config |= _read_json(folder / "special_tokens_map.json")
    options = replace(_options(config), **overrides)
    unchanged = {name: value for name, value in config.items() if name not in overrides}
    added = _added_tokens(folder, config, options) + _special_tokens(options, unchanged)
    if not path.is_file():
        return _configure(_read_vocab(folder / "vocab.txt", options), options, added, folder / "vocab.txt"), options
    try:
        backend = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more specific
        raise ValueError(f"{path} cannot be read as a tokenizer: {error}") from error
    return _configure(backend, options, added, path), options


def save(folder: str | Path, backend: Tokenizer, options: TokenizerOptions, class_name: str) -> tuple[str, ...]:
    """Write tokenizer.json and tokenizer_config.json, which transformers reads too, and return their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "tokenizer_config.json", folder / "tokenizer.json"
    config = asdict(options) | {"tokenizer_class": class_name}
    paths[0].write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    paths[1].write_text(backend.to_str(pretty=True), encoding="utf-8")  # its own save raises no OSError
    return tuple(str(path) for path in paths)


def bert_template(backend: Tokenizer, cls: str, sep: str) -> processors.TemplateProcessing:
    """Return the layout of BERT's rows of one or two sequences; the vocabulary must have both tokens."""
    return processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(token, backend.token_to_id(token)) for token in (cls, sep)],
    )


def _read_vocab(path: Path, options: TokenizerOptions) -> Tokenizer:
    with path.open(encoding="utf-8") as lines:
        vocabulary = {line.rstrip("\n"): number for number, line in enumerate(lines)}
    backend = Tokenizer(WordPiece(vocabulary, unk_token=options.unk_token, max_input_chars_per_word=100))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


def _configure(backend: Tokenizer, options: TokenizerOptions, added: Iterable[AddedToken], path: Path) -> Tokenizer:
    """Apply the options and added tokens to a tokenizer, and turn off its truncation and padding."""
    if not isinstance(backend.model, WordPiece):
        raise ValueError(f"{path} holds a {type(backend.model).__name__} model, but DPR's tokenizers are WordPiece")
    if options.unk_token not in backend.get_vocab(with_added_tokens=False):
        raise ValueError(f"{path} has no {options.unk_token!r}, which unknown words become (unk_token)")
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = False
    if backend.normalizer is None or isinstance(backend.normalizer, normalizers.BertNormalizer):
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
    backend.post_processor = bert_template(backend, options.cls_token, options.sep_token)
    return backend


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, but must hold an object")
    return content


def _options(config: dict[str, Any]) -> TokenizerOptions:
    """Read the options from the merged configuration files, whose tokens are strings or objects."""
    names = {field.name for field in fields(TokenizerOptions)} - {"additional_special_tokens", "model_max_length"}
    known = {name: value for name, value in config.items() if name in names}
    for name in SPECIAL_TOKENS:
        if known.get(name) is None:
            known.pop(name, None)  # null means the default
        else:
            known[name] = _added_token(known[name]).content
    longest = config.get("model_max_length", config.get("max_len"))
    if longest is None:
        longest = UNBOUNDED
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
    special = {getattr(options, name) for name in SPECIAL_TOKENS} | set(options.additional_special_tokens)
    listed = config.get("added_tokens_decoder")
    if listed is None:
        ids = _read_json(folder / "added_tokens.json")
        if not all(type(number) is int for number in ids.values()):
            raise ValueError(f"{folder / 'added_tokens.json'} holds an id that is no whole number")
        return [_added_token(token, token in special) for token in sorted(ids, key=ids.__getitem__)]
    if not isinstance(listed, dict):
        raise ValueError(f"added_tokens_decoder is of type {type(listed).__name__}, but must map ids to tokens")
    tokens = [listed[number] for number in sorted(listed, key=int)]
    return [_added_token(token, isinstance(token, dict) and token.get("content") in special) for token in tokens]


def _special_tokens(options: TokenizerOptions, config: dict[str, Any]) -> list[AddedToken]:
    """Return the special tokens with the flags that the configuration files give them."""
    named = [config.get(name) or getattr(options, name) for name in SPECIAL_TOKENS]
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
