"""The table of row templates: the special tokens around the texts of a row, and the token types. BERT's and RoBERTa's.

tokenizer.json says which one holds, so that an exported folder needs no file of its own for it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from tokenizers import Tokenizer, processors
from tokenizers.models import WordPiece

# By column, the values of the special tokens before the first text of a row, and of those after each text.
Edges = Mapping[str, Sequence[list[Any]]]
CONSTANT = {"attention_mask": 1, "special_tokens_mask": 1, "offset_mapping": (0, 0)}
NO_EDGES: Edges = {column: [[], [], []] for column in ("input_ids", "token_type_ids", *CONSTANT)}


@dataclass(frozen=True, slots=True)
class RowTemplate:
    """One way to make rows of one text, A, or of two, A and B; the token type follows each colon."""

    name: str
    processor: str  # the post-processor of the `tokenizers` library that has only this template
    single: str
    pair: str
    special_tokens: Mapping[str, str]  # the special tokens where no file names them

    @property
    def types(self) -> tuple[int, int]:
        """The token types of the first and of the second text."""
        return _split(self.pair)[1]

    def count(self, pair: bool) -> int:
        """Return the number of special tokens of a row."""
        return sum(map(len, _split(self.pair if pair else self.single)[0]))

    def edges(self, pair: bool, cls: int, sep: int) -> Edges:
        """Return the special tokens of a row of one text or of two; `cls` and `sep` are ids.

        >>> ROBERTA.edges(True, cls=0, sep=2)["input_ids"]
        [[0], [2, 2], [2]]
        """
        return _make_edges(self.pair if pair else self.single, cls, sep)

    def write(self, cls: str, sep: str) -> list[list[str]]:
        """Return the rows of one text and of two as pieces of the `tokenizers` library.

        >>> ROBERTA.write("<s>", "</s>")[0]
        ['<s>:0', '$A:0', '</s>:0']
        """
        names = {"cls": cls, "sep": sep, "A": "$A", "B": "$B"}
        rows = ((piece.split(":") for piece in row.split()) for row in (self.single, self.pair))
        return [[f"{names[name]}:{kind}" for name, kind in row] for row in rows]

    def make_processor(self, cls: tuple[str, int], sep: tuple[str, int]) -> processors.TemplateProcessing:
        """Build the post-processor of the `tokenizers` library; `cls` and `sep` are tokens with their ids."""
        single, pair = self.write(cls[0], sep[0])
        return processors.TemplateProcessing(single=single, pair=pair, special_tokens=[cls, sep])


BERT = RowTemplate(
    name="BERT",
    processor="BertProcessing",
    single="cls:0 A:0 sep:0",
    pair="cls:0 A:0 sep:0 B:1 sep:1",
    special_tokens={
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    },
)
ROBERTA = RowTemplate(
    name="RoBERTa",
    processor="RobertaProcessing",
    single="cls:0 A:0 sep:0",
    pair="cls:0 A:0 sep:0 sep:0 B:0 sep:0",
    special_tokens={
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "cls_token": "<s>",
        "mask_token": "<mask>",
    },
)
TEMPLATES = (BERT, ROBERTA)


def find_template(backend: Tokenizer) -> tuple[RowTemplate, dict[str, str]]:
    """Return the template of a tokenizer's post-processor, and the `cls_token` and `sep_token` in it.

    A WordPiece model without a post-processor, such as one read from vocab.txt, has BERT's template and no tokens.

    Raises:
        ValueError: it has another template, or none.
    """
    if backend.post_processor is None and isinstance(backend.model, WordPiece):
        return BERT, {}
    processor = backend.post_processor
    state: dict[str, Any] = {"type": "null"} if processor is None else json.loads(processor.__getstate__())
    single, pair = ([_write_piece(piece) for piece in state.get(name, ())] for name in ("single", "pair"))
    if "cls" in state:
        cls, sep = state["cls"][0], state["sep"][0]
    else:
        cls, sep = (piece.rpartition(":")[0] for piece in (single[0], single[-1])) if single else ("", "")
    for template in TEMPLATES:
        if state["type"] == template.processor or [single, pair] == template.write(cls, sep):
            return template, {"cls_token": cls, "sep_token": sep}
    shown = " and ".join(f'"{" ".join(row)}"' for row in (single, pair) if row)
    known = " or ".join(f'"{template.pair}" ({template.name})' for template in TEMPLATES)
    raise ValueError(
        f"post_processor in tokenizer.json is {state['type']}{shown and f' with {shown}'}, but the row of a pair must "
        f"be {known}"
    )


def lay_out(edges: Sequence[Iterable[Any]], texts: Iterable[Iterable[Any]]) -> list[Any]:
    """Join the values of texts with those of the special tokens before the first and after each.

    >>> lay_out([[101], [102]], [[7, 8]])
    [101, 7, 8, 102]
    """
    row = list(edges[0])
    for text, edge in zip(texts, edges[1:], strict=True):
        row += [*text, *edge]
    return row


def _write_piece(piece: Mapping[str, Any]) -> str:
    """Return a piece of a TemplateProcessing's state as a string, such as "$A:0"."""
    ((kind, value),) = piece.items()
    return f"{'$' if kind == 'Sequence' else ''}{value['id']}:{value['type_id']}"


@cache
def _split(template: str) -> tuple[list[list[tuple[str, int]]], tuple[int, int]]:
    """Return the special tokens before, between and after the texts, with their types, and the types of the texts."""
    edges: list[list[tuple[str, int]]] = [[]]
    types = {}
    for piece in template.split():
        name, _, kind = piece.partition(":")
        if name in ("A", "B"):
            types[name] = int(kind)
            edges.append([])
        else:
            edges[-1].append((name, int(kind)))
    return edges, (types["A"], types.get("B", types["A"]))


@lru_cache(maxsize=64)
def _make_edges(row: str, cls: int, sep: int) -> Edges:
    ids = {"cls": cls, "sep": sep}
    edges, _ = _split(row)
    return {
        "input_ids": [[ids[name] for name, _ in edge] for edge in edges],
        "token_type_ids": [[kind for _, kind in edge] for edge in edges],
        **{column: [[value] * len(edge) for edge in edges] for column, value in CONSTANT.items()},
    }
