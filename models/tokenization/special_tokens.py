"""Special tokens ([CLS], [SEP], [PAD], [UNK], [MASK]) and the tokens that were added to a vocabulary.

Each of the five has a name and an id (`cls_token`, `cls_token_id`), and setting one sets the other. RoBERTa's rows have
`bos_token` and `eos_token` too; in BERT's both are None.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from tokenizers import AddedToken, Tokenizer, processors

from dpr_export.models.tokenization.row_templates import find_template
from dpr_export.models.tokenization.tokenizer_options import TokenizerOptions

MORE = ("additional_special_tokens", "extra_special_tokens")  # the name in transformers 4, and in 5
NewToken = str | AddedToken
_Value = TypeVar("_Value")


class _Special(Generic[_Value]):
    """The attribute of a special token, such as `cls_token`, or of its id."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, tokenizer: "SpecialTokens", owner: type) -> _Value:
        value: _Value = tokenizer.__dict__.get(self._name)  # type: ignore[assignment]  # None in BERT's bos_token
        return value

    def __set__(self, tokenizer: "SpecialTokens", value: _Value) -> None:
        tokenizer._set_special(self._name, value)


class SpecialTokens:
    """The special and added tokens of a tokenizer; `Vocabulary` shows their use."""

    pad_token_type_id = 0
    bos_token, bos_token_id = _Special[str | None](), _Special[int | None]()
    eos_token, eos_token_id = _Special[str | None](), _Special[int | None]()
    unk_token, unk_token_id = _Special[str](), _Special[int]()
    sep_token, sep_token_id = _Special[str](), _Special[int]()
    pad_token, pad_token_id = _Special[str](), _Special[int]()
    cls_token, cls_token_id = _Special[str](), _Special[int]()
    mask_token, mask_token_id = _Special[str](), _Special[int]()

    def __init__(self, backend: Tokenizer, options: TokenizerOptions) -> None:
        self.backend_tokenizer = backend
        self.template, _ = find_template(backend)
        self._additional = list(options.additional_special_tokens)
        for name in self.template.special_tokens:
            setattr(self, name, getattr(options, name))

    def _set_special(self, attribute: str, value: Any) -> None:
        """Set a special token and its id, by the name and value of either.

        Raises:
            ValueError: the special token is not in the vocabulary.
        """
        name = attribute.removesuffix("_id")
        backend = self.backend_tokenizer
        token = str(value) if attribute == name else backend.id_to_token(value)
        number = None if token is None else backend.token_to_id(token)
        if number is None:
            raise ValueError(
                f"{attribute} is {value!r}, which is not in the vocabulary: "
                f"add_special_tokens({{{name!r}: ...}}) adds a token and names it so"
            )
        self.__dict__.update({name: token, f"{name}_id": number})
        if name in ("cls_token", "sep_token") and {"cls_token", "sep_token"} <= self.__dict__.keys():
            self._set_processor()

    def _set_processor(self) -> None:
        """Let the backend make this template's rows, with the special tokens as they are."""
        self._ends = cls, sep = (self.cls_token, self.cls_token_id), (self.sep_token, self.sep_token_id)
        before = self.backend_tokenizer.post_processor
        new: processors.PostProcessor = self.template.make_processor(cls, sep)
        if isinstance(before, processors.RobertaProcessing):  # also trims spaces from the offsets of tokens
            new = processors.RobertaProcessing(sep, cls, before.trim_offsets, before.add_prefix_space)
        self.backend_tokenizer.post_processor = new

    def add_tokens(self, new_tokens: NewToken | Sequence[NewToken], special_tokens: bool = False) -> int:
        """Add tokens that are never split, with the next free ids.

        No other thread may use this tokenizer meanwhile. A model has embeddings for its own vocabulary alone, so it
        refuses the ids of tokens that are added later.

        Args:
            new_tokens: one or many, as strings or as the `tokenizers` library's AddedToken.
            special_tokens: whether `skip_special_tokens` leaves them out of decoded text.

        Returns:
            The number of tokens that were new.
        """
        tokens = list(new_tokens) if isinstance(new_tokens, list | tuple) else [new_tokens]
        self.__dict__.pop("_splitting", None)  # a copy of the old vocabulary: see Vocabulary
        if special_tokens:
            return self.backend_tokenizer.add_special_tokens(tokens)
        return self.backend_tokenizer.add_tokens(tokens)

    def add_special_tokens(
        self, special_tokens_dict: Mapping[str, Any], replace_extra_special_tokens: bool = True
    ) -> int:
        """Set special tokens, and add those that the vocabulary lacks; the limits of `add_tokens` hold.

        Args:
            special_tokens_dict: a token for any name in `special_tokens_map`, such as cls_token, and a list of tokens
                for additional_special_tokens (or extra_special_tokens).
            replace_extra_special_tokens: replace the additional special tokens by that list, instead of extending
                them. Replaced ones stay in the vocabulary as ordinary tokens.

        Returns:
            The number of tokens that were new.

        Raises:
            ValueError: an unknown name, or a value that is no token.
        """
        tokens: list[NewToken] = []
        known = (*self.template.special_tokens, *MORE)
        for name, value in special_tokens_dict.items():
            if name not in known:
                raise ValueError(f"{name!r} is no special token of {self.template.name}'s rows: {', '.join(known)}")
            new = value if name in MORE else [value]
            if not isinstance(new, list | tuple) or not all(isinstance(token, NewToken) for token in new):
                kind = "a list of strings or AddedTokens" if name in MORE else "a string or an AddedToken"
                raise ValueError(f"{name} is {value!r}, but must be {kind}")
            tokens += new
        added = self.add_tokens(tokens, special_tokens=True)
        for name, value in special_tokens_dict.items():
            if name not in MORE:
                setattr(self, name, str(getattr(value, "content", value)))
            else:
                before = [] if replace_extra_special_tokens else self._additional
                contents = (str(getattr(token, "content", token)) for token in value)
                self._additional = list(dict.fromkeys([*before, *contents]))
        return added

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The special tokens of a row by name, such as {"cls_token": "[CLS]"}; five of BERT's, seven of RoBERTa's."""
        return {name: getattr(self, name) for name in self.template.special_tokens}

    @property
    def additional_special_tokens(self) -> list[str]:
        """The special tokens beside `special_tokens_map`; transformers 5 calls them `extra_special_tokens`."""
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
        self.add_special_tokens({MORE[0]: [self.backend_tokenizer.id_to_token(number) for number in ids]})

    extra_special_tokens = additional_special_tokens
    extra_special_tokens_ids = additional_special_tokens_ids

    @property
    def all_special_tokens(self) -> list[str]:
        """The tokens of `special_tokens_map` and the additional special tokens, each once."""
        return list(dict.fromkeys([*self.special_tokens_map.values(), *self._additional]))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        return [self._id(token) for token in self.all_special_tokens]

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The tokens that are never split, by id: the special tokens and the added ones."""
        return self.backend_tokenizer.get_added_tokens_decoder()

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """The ids of `added_tokens_decoder`, by token."""
        return {token.content: number for number, token in sorted(self.added_tokens_decoder.items())}

    def get_added_vocab(self) -> dict[str, int]:
        """Return `added_tokens_encoder`."""
        return self.added_tokens_encoder

    def _id(self, token: str) -> int:
        number = self.backend_tokenizer.token_to_id(token)
        return self.unk_token_id if number is None else number
