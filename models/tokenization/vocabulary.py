"""The vocabulary of a tokenizer: tokens, their ids, decoding ids to text, and reading and saving it all."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from tokenizers import Tokenizer

from dpr_export.models.artifact.hub import HubOptions
from dpr_export.models.artifact.resolve import resolve_files
from dpr_export.models.tokenization.special_tokens import SpecialTokens
from dpr_export.models.tokenization.tokenizer_files import TOKENIZER_FILES, load, save
from dpr_export.models.tokenization.tokenizer_options import TokenizerOptions
from dpr_export.models.torch_interop import to_lists

FEW = 16  # rows: up to here a loop is faster than the threads of the library's decode_batch

# The replacements of clean_up_tokenization_spaces, in their order.
JOINED = (
    *((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'")),
    *((" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")),
)


class Vocabulary(SpecialTokens):
    """A checkpoint's tokens, their ids, and the special ones among them.

    Attributes:
        model_max_length: the largest number of tokens of a row; 10**30 if no file names one.
        padding_side, truncation_side: "right" or "left".
        clean_up_tokenization_spaces: the default of `decode`.
        cls_token, sep_token, pad_token, unk_token, mask_token: the special tokens, each with an id (`cls_token_id`).
        bos_token, eos_token: two more of RoBERTa's rows; None in BERT's.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "do", "##ing", "love"]
    ...     _ = pathlib.Path(folder, "vocab.txt").write_text("\\n".join(words))
    ...     vocabulary = Vocabulary.from_pretrained(folder)
    >>> vocabulary.convert_tokens_to_ids(["love", "hate"]), vocabulary.convert_ids_to_tokens([2, 5, 6])
    ([7, 1], ['[CLS]', 'do', '##ing'])
    >>> vocabulary.decode([2, 5, 6, 7, 3], skip_special_tokens=True), vocabulary.batch_decode([[5], [7]])
    ('doing love', ['do', 'love'])
    """

    is_fast = True

    def __init__(self, backend: Tokenizer, options: TokenizerOptions, name_or_path: str = "") -> None:
        super().__init__(backend, options)
        self._options = options
        self.name_or_path = name_or_path
        self.model_max_length = options.model_max_length
        self.padding_side = options.padding_side
        self.truncation_side = options.truncation_side
        self.clean_up_tokenization_spaces = options.clean_up_tokenization_spaces
        self.do_lower_case = options.do_lower_case

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        **overrides: Any,
    ) -> Self:
        """Read the tokenizer of a checkpoint or an exported folder.

        Args:
            folder: a folder with tokenizer.json or vocab.txt; or a name on the hub.
            revision, token, cache_dir, local_files_only: as in `DPRReader.from_pretrained`.
            overrides: fields of `TokenizerOptions`, such as do_lower_case or model_max_length, that override
                tokenizer_config.json.

        Raises:
            OSError: the folder has no tokenizer, or it cannot be downloaded.
            ValueError: a file cannot be read.
            TypeError: an override has an unknown name.
        """
        path = resolve_files(TOKENIZER_FILES, folder, HubOptions(revision, token, cache_dir, local_files_only))
        tokenizer = cls.read(path, **overrides)
        tokenizer.name_or_path = str(folder)
        return tokenizer

    @classmethod
    def read(cls, folder: Path, **overrides: Any) -> Self:
        """As `from_pretrained`, from a folder that is known to be on this machine."""
        return cls(*load(folder, overrides), name_or_path=str(folder))

    def save_pretrained(self, folder: str | Path) -> tuple[str, ...]:
        """Write tokenizer.json and tokenizer_config.json, which transformers reads too, and return their paths."""
        named: dict[str, Any] = dict(self.special_tokens_map)
        options = replace(
            self._options,
            model_max_length=self.model_max_length,
            padding_side=self.padding_side,
            truncation_side=self.truncation_side,
            clean_up_tokenization_spaces=self.clean_up_tokenization_spaces,
            additional_special_tokens=tuple(self.additional_special_tokens),
            **named,
        )
        return save(folder, self.backend_tokenizer, options, type(self).__name__)

    def save_vocabulary(self, save_directory: str | Path, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write the vocabulary into a folder that exists, vocab.txt with one token a line of BERT's; return the paths.

        `filename_prefix` is joined to the file's name by a hyphen. Raises an OSError if there is no such folder.
        """
        if not Path(save_directory).is_dir():
            raise OSError(f"save_directory is {str(save_directory)!r}, but there is no such folder")
        return tuple(self.backend_tokenizer.model.save(str(save_directory), filename_prefix))

    def __getstate__(self) -> dict[str, Any]:
        # `_splitting` has a setting that is not pickled.
        return {name: value for name, value in self.__dict__.items() if name != "_splitting"}

    def __len__(self) -> int:
        """Return the number of tokens, with the added ones."""
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=True)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        shown = ("name_or_path", "vocab_size", "model_max_length", "padding_side", "truncation_side")
        values = "".join(f"{name}={getattr(self, name)!r}, " for name in shown)
        return f"{type(self).__name__}({values}special_tokens={self.special_tokens_map})"

    @property
    def vocab_size(self) -> int:
        """The number of tokens, without the added ones."""
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=False)

    def get_vocab(self) -> dict[str, int]:
        """Return every token and its id."""
        return self.backend_tokenizer.get_vocab(with_added_tokens=True)

    @property
    def vocab(self) -> dict[str, int]:
        """Every token and its id, as from `get_vocab`."""
        return self.get_vocab()

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> int | list[int]:
        """Return the id of a token, or the ids of a list; the id of an unknown token is `unk_token_id`."""
        return self._id(tokens) if isinstance(tokens, str) else [self._id(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """Return the token of an id, or the tokens of a list; None for an unknown id.

        Args:
            ids: an integer, or a list, array or tensor (tokens,).
            skip_special_tokens: omit `all_special_tokens`; has no effect on a single id.
        """
        ids = to_lists(ids)
        if isinstance(ids, int):
            return self.backend_tokenizer.id_to_token(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self.backend_tokenizer.id_to_token(number) for number in ids if number not in skipped]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Join tokens to a text: BERT's "##" attaches a token to the one before it."""
        decoder = self.backend_tokenizer.decoder
        return " ".join(tokens) if decoder is None else str(decoder.decode(list(tokens)))

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> Any:
        """Return the text of a row of ids, or the texts of many rows.

        Args:
            token_ids: an integer, a list, array or tensor (tokens,), or rows of them (rows, tokens).
            skip_special_tokens: omit [CLS], [SEP], [PAD] and the other special tokens.
            clean_up_tokenization_spaces: join "don ' t" to "don't"; None follows tokenizer_config.json, with False as
                its default.

        Returns:
            A string; for rows, a list of strings.
        """
        ids, backend = to_lists(token_ids), self.backend_tokenizer
        many = isinstance(ids, list) and bool(ids) and isinstance(ids[0], list)
        rows = ids if many else [[ids] if isinstance(ids, int) else ids]
        if len(rows) <= FEW:
            texts = [backend.decode(row, skip_special_tokens=skip_special_tokens) for row in rows]
        else:
            texts = backend.decode_batch(rows, skip_special_tokens=skip_special_tokens)
        clean_up = clean_up_tokenization_spaces
        for apart, joined in JOINED if (self.clean_up_tokenization_spaces if clean_up is None else clean_up) else ():
            texts = [text.replace(apart, joined) for text in texts]
        return texts if many else texts[0]

    def batch_decode(
        self, sequences: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> list[str]:
        """Return the texts of rows of ids (rows, tokens), as `decode` does for one."""
        texts = self.decode(sequences, skip_special_tokens, clean_up_tokenization_spaces) if len(sequences) else []
        return [texts] if isinstance(texts, str) else list(texts)

    @cached_property
    def _splitting(self) -> Tokenizer:
        """A copy of the backend that encodes special tokens in a text as ordinary text: "[SEP]" is "[", "sep" and "]".

        transformers switches its one object during the call, which would change the results of other threads.
        """
        backend = Tokenizer.from_str(self.backend_tokenizer.to_str())
        backend.encode_special_tokens = True
        return backend
