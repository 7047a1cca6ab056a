"""The tokens that mean something: [CLS], [SEP], [PAD], [UNK], [MASK], and those that were added to the vocabulary.

Each of the five has a name and an id (`cls_token`, `cls_token_id`), and setting either sets both. Tokens can be added,
as the original allows: a model knows only the ids up to its `vocab_size`, and refuses others by name.

Left out: bos_token and eos_token, which no row of BERT's has; they read as None.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer

from dpr_export.models.tokenization.tokenizer_files import SPECIAL_TOKENS, TokenizerOptions, bert_template

MORE = ("additional_special_tokens", "extra_special_tokens")  # transformers 4's and 5's name for the others
NewToken = str | AddedToken


class SpecialTokens:
    """A tokenizer's vocabulary, and the special tokens in it; see `Vocabulary` for what may be done with them."""

    bos_token: str | None = None
    bos_token_id: int | None = None
    eos_token: str | None = None
    eos_token_id: int | None = None
    cls_token: str
    cls_token_id: int
    sep_token: str
    sep_token_id: int
    pad_token: str
    pad_token_id: int
    unk_token: str
    unk_token_id: int
    mask_token: str
    mask_token_id: int
    pad_token_type_id = 0

    def __init__(self, backend: Tokenizer, options: TokenizerOptions) -> None:
        self.backend_tokenizer = backend
        self._additional = list(options.additional_special_tokens)
        for name in SPECIAL_TOKENS:
            setattr(self, name, getattr(options, name))

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; of a special token, its id too, and the other way round.

        Raises:
            ValueError: the token is not in the vocabulary.
        """
        token_name = name.removesuffix("_id")
        if token_name not in SPECIAL_TOKENS:
            super().__setattr__(name, value)
            return
        token = str(value) if token_name == name else self.backend_tokenizer.id_to_token(value)
        number = None if token is None else self.backend_tokenizer.token_to_id(token)
        if number is None:
            raise ValueError(
                f"{name} is {value!r}, which is not in the vocabulary: "
                f"add_special_tokens({{{token_name!r}: ...}}) adds a token and names it so"
            )
        super().__setattr__(token_name, token)
        super().__setattr__(f"{token_name}_id", number)
        if token_name in ("cls_token", "sep_token") and hasattr(self, "cls_token") and hasattr(self, "sep_token"):
            self.backend_tokenizer.post_processor = bert_template(
                self.backend_tokenizer, self.cls_token, self.sep_token
            )

    def add_tokens(self, new_tokens: NewToken | Sequence[NewToken], special_tokens: bool = False) -> int:
        """Add tokens that are never split, with the next free ids; not while another thread uses this tokenizer.

        A model has rows of embeddings for its own vocabulary alone: it refuses the ids of tokens added after that.

        Args:
            new_tokens: one or many, as strings or as the `tokenizers` library's AddedToken.
            special_tokens: whether `skip_special_tokens` leaves them out of decoded text.

        Returns:
            How many of them were new.
        """
        tokens = list(new_tokens) if isinstance(new_tokens, list | tuple) else [new_tokens]
        self.__dict__.pop("_splitting", None)  # a copy of the vocabulary as it was: see Vocabulary
        if special_tokens:
            return self.backend_tokenizer.add_special_tokens(tokens)
        return self.backend_tokenizer.add_tokens(tokens)

    def add_special_tokens(
        self, special_tokens_dict: Mapping[str, Any], replace_extra_special_tokens: bool = True
    ) -> int:
        """Name special tokens, and add those that the vocabulary lacks; as `add_tokens` otherwise.

        Args:
            special_tokens_dict: cls_token, sep_token, pad_token, unk_token or mask_token, each a token; and
                additional_special_tokens (or extra_special_tokens), a list of them.
            replace_extra_special_tokens: whether that list takes the place of the one before, whose tokens then stay
                in the vocabulary, but are no longer special; or is added to it.

        Returns:
            How many of them were new.

        Raises:
            ValueError: another name, or something that is no token.
        """
        tokens: list[NewToken] = []
        for name, value in special_tokens_dict.items():
            if name not in (*SPECIAL_TOKENS, *MORE):
                raise ValueError(f"{name!r} is no special token of BERT's rows: {', '.join((*SPECIAL_TOKENS, *MORE))}")
            given = value if name in MORE else [value]
            if not isinstance(given, list | tuple) or not all(isinstance(token, NewToken) for token in given):
                kind = "a list of strings or AddedTokens" if name in MORE else "a string or an AddedToken"
                raise ValueError(f"{name} is {value!r}, but must be {kind}")
            tokens += given
        added = self.add_tokens(tokens, special_tokens=True)
        for name, value in special_tokens_dict.items():
            if name in SPECIAL_TOKENS:
                setattr(self, name, _content(value))
                continue
            before = [] if replace_extra_special_tokens else self._additional
            self._additional = list(dict.fromkeys([*before, *(_content(token) for token in value)]))
        return added

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The five special tokens by name, such as {"cls_token": "[CLS]"}."""
        return {name: getattr(self, name) for name in SPECIAL_TOKENS}

    @property
    def additional_special_tokens(self) -> list[str]:
        """The special tokens beside the five; transformers 5 calls them `extra_special_tokens`."""
        return list(self._additional)

    @additional_special_tokens.setter
    def additional_special_tokens(self, tokens: Sequence[NewToken]) -> None:
        self.add_special_tokens({"additional_special_tokens": list(tokens)})

    @property
    def additional_special_tokens_ids(self) -> list[int]:
        """The ids of `additional_special_tokens`."""
        return [self._id(token) for token in self._additional]

    @additional_special_tokens_ids.setter
    def additional_special_tokens_ids(self, ids: Sequence[int]) -> None:
        tokens: list[Any] = [self.backend_tokenizer.id_to_token(number) for number in ids]
        self.additional_special_tokens = tokens

    extra_special_tokens = additional_special_tokens
    extra_special_tokens_ids = additional_special_tokens_ids

    @property
    def all_special_tokens(self) -> list[str]:
        """The five and the additional special tokens, each once."""
        return list(dict.fromkeys([*self.special_tokens_map.values(), *self._additional]))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        return [self._id(token) for token in self.all_special_tokens]

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The tokens that are never split, by their ids: the special ones, and those that were added."""
        return self.backend_tokenizer.get_added_tokens_decoder()

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """The ids of `added_tokens_decoder`, by token."""
        return {token.content: number for number, token in sorted(self.added_tokens_decoder.items())}

    def get_added_vocab(self) -> dict[str, int]:
        """`added_tokens_encoder`, by its other name."""
        return self.added_tokens_encoder

    def _id(self, token: str) -> int:
        number = self.backend_tokenizer.token_to_id(token)
        return self.unk_token_id if number is None else number


def _content(token: NewToken) -> str:
    return token if isinstance(token, str) else token.content
