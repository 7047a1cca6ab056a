"""Tokens and their ids, and the way back from ids to text.

The base of the tokenizers: it holds a `tokenizers.Tokenizer` and the checkpoint's options, is read from a folder and
written to one, and can be pickled. How text becomes rows of ids stands in tokenizers.py.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from tokenizers import Tokenizer

from dpr_export.models.tensors import to_lists
from dpr_export.models.wordpiece import SPECIAL_TOKENS, TokenizerOptions, load, save

FEW = 16  # rows: decoding so many one by one costs less than waking the library's threads

# What clean_up_tokenization_spaces joins, in this order.
JOINED = (
    *((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'")),
    *((" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")),
)


class Vocabulary:
    """A checkpoint's tokens, their ids, and the special ones among them.

    Attributes:
        model_max_length: the longest row the model reads, 10**30 where no file says.
        padding_side, truncation_side: "right" or "left".
        clean_up_tokenization_spaces: what `decode` does where it is not told.
        cls_token, sep_token, pad_token, unk_token, mask_token: the special tokens, each with an id (`cls_token_id`).

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
    pad_token_type_id = 0

    def __init__(self, backend: Tokenizer, options: TokenizerOptions) -> None:
        ids = backend.get_vocab(with_added_tokens=True)
        self.backend_tokenizer = backend
        self._options = options
        self.model_max_length = options.model_max_length
        self.padding_side = options.padding_side
        self.truncation_side = options.truncation_side
        self.clean_up_tokenization_spaces = options.clean_up_tokenization_spaces
        self.do_lower_case = options.do_lower_case
        self.unk_token, self.unk_token_id = options.unk_token, ids[options.unk_token]
        self.sep_token, self.sep_token_id = options.sep_token, ids[options.sep_token]
        self.pad_token, self.pad_token_id = options.pad_token, ids[options.pad_token]
        self.cls_token, self.cls_token_id = options.cls_token, ids[options.cls_token]
        self.mask_token, self.mask_token_id = options.mask_token, ids[options.mask_token]

    @classmethod
    def from_pretrained(cls, folder: str | Path, **overrides: Any) -> Self:
        """Read the tokenizer in a checkpoint's or an exported folder.

        Args:
            folder: a local folder with tokenizer.json, or with vocab.txt.
            overrides: what should win over tokenizer_config.json, such as do_lower_case or model_max_length:
                any field of `wordpiece.TokenizerOptions`.

        Raises:
            OSError: the folder holds no tokenizer.
            ValueError: a file cannot be understood.
            TypeError: an override has an unknown name.
        """
        return cls(*load(folder, overrides))

    def save_pretrained(self, folder: str | Path) -> tuple[str, ...]:
        """Write tokenizer.json and tokenizer_config.json, and return their paths; transformers reads them too."""
        options = replace(
            self._options,
            model_max_length=self.model_max_length,
            padding_side=self.padding_side,
            truncation_side=self.truncation_side,
            clean_up_tokenization_spaces=self.clean_up_tokenization_spaces,
        )
        return save(folder, self.backend_tokenizer, options, type(self).__name__)

    def __len__(self) -> int:
        """How many tokens there are, the added ones included."""
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=True)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} tokens, {self._options})"

    @property
    def vocab_size(self) -> int:
        """How many tokens the model of word pieces knows, without the added ones."""
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=False)

    def get_vocab(self) -> dict[str, int]:
        """Every token and its id."""
        return self.backend_tokenizer.get_vocab(with_added_tokens=True)

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The special tokens by name, such as {"cls_token": "[CLS]"}."""
        return {name: getattr(self._options, name) for name in SPECIAL_TOKENS}

    @property
    def all_special_tokens(self) -> list[str]:
        """The named and the additional special tokens, each once."""
        return list(dict.fromkeys([*self.special_tokens_map.values(), *self._options.additional_special_tokens]))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        return [self._id(token) for token in self.all_special_tokens]

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> int | list[int]:
        """Return the id of a token, or the ids of many; an unknown token has `unk_token_id`."""
        return self._id(tokens) if isinstance(tokens, str) else [self._id(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """Return the token of an id, or the tokens of many; None where there is none.

        Args:
            ids: an integer, or a list, array or tensor (tokens,).
            skip_special_tokens: leave out `all_special_tokens`; not for a single id.
        """
        ids = to_lists(ids)
        if isinstance(ids, int):
            return self.backend_tokenizer.id_to_token(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self.backend_tokenizer.id_to_token(number) for number in ids if number not in skipped]

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> Any:
        """Return the text of a row of ids, or the texts of many rows.

        Args:
            token_ids: an integer, a list, array or tensor (tokens,), or rows of them (rows, tokens).
            skip_special_tokens: leave out [CLS], [SEP], [PAD] and the other special tokens.
            clean_up_tokenization_spaces: join "don ' t" to "don't"; None follows tokenizer_config.json, and is False
                where that is silent.

        Returns:
            A string; a list of strings for rows.
        """
        ids = to_lists(token_ids)
        if isinstance(ids, int):
            ids = [ids]
        if ids and isinstance(ids[0], list):
            return self._texts(ids, skip_special_tokens, clean_up_tokenization_spaces)
        return self._texts([ids], skip_special_tokens, clean_up_tokenization_spaces)[0]

    def batch_decode(
        self, sequences: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> list[str]:
        """Return the texts of rows of ids (rows, tokens), as `decode` does for one."""
        texts = self.decode(sequences, skip_special_tokens, clean_up_tokenization_spaces) if len(sequences) else []
        return [texts] if isinstance(texts, str) else list(texts)

    def _id(self, token: str) -> int:
        number = self.backend_tokenizer.token_to_id(token)
        return self.unk_token_id if number is None else number

    def _texts(self, rows: list[list[int]], skip_special_tokens: bool, clean_up: bool | None) -> list[str]:
        backend = self.backend_tokenizer
        if len(rows) <= FEW:
            texts = [backend.decode(row, skip_special_tokens=skip_special_tokens) for row in rows]
        else:
            texts = backend.decode_batch(rows, skip_special_tokens=skip_special_tokens)
        if not (self.clean_up_tokenization_spaces if clean_up is None else clean_up):
            return texts
        for apart, joined in JOINED:
            texts = [text.replace(apart, joined) for text in texts]
        return texts
