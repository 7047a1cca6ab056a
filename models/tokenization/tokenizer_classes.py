"""The table of transformers' tokenizer classes that are read, and the options that are refused.

A class that is not in the table may cut words otherwise than its files say, which would change ids in silence.
"""

from collections.abc import Mapping
from typing import Any

from dpr_export.models.tokenization.row_templates import BERT, ROBERTA, RowTemplate

DEFAULT = "DPRQuestionEncoderTokenizer"  # where no file names a class
# Each `tokenizer_class`, without "Fast", and the rows that it makes. None: those that tokenizer.json describes.
CLASSES: dict[str, RowTemplate | None] = {
    **dict.fromkeys((DEFAULT, "DPRContextEncoderTokenizer", "DPRReaderTokenizer")),
    **dict.fromkeys(("BertTokenizer", "DistilBertTokenizer"), BERT),
    **dict.fromkeys(("RobertaTokenizer", "XLMRobertaTokenizer", "CamembertTokenizer"), ROBERTA),
    **dict.fromkeys(("PreTrainedTokenizer", "TokenizersBackend")),
}
# The classes that BERT's options, such as do_lower_case, belong to. They override tokenizer.json.
BERT_CLASSES = tuple(name for name, rows in CLASSES.items() if rows is BERT or name.startswith("DPR"))
# The options of transformers' Python tokenizers that tokenizer.json lacks, and the values that change nothing.
REFUSED: dict[str, tuple[Any, ...]] = {
    "do_basic_tokenize": (None, True),
    "never_split": (None, []),
    "split_special_tokens": (None, False),
}
JAPANESE = ("word_tokenizer_type", "subword_tokenizer_type")
MECAB = "Japanese word tokenizers (MeCab) are not available at run time"


def find_class(config: Mapping[str, Any]) -> str:
    """Return the tokenizer class that the merged configuration files name, without "Fast", or `DEFAULT`.

    Raises:
        ValueError: the class is not in the table, or an option changes tokens in a way that cannot be read.

    >>> find_class({"tokenizer_class": "XLMRobertaTokenizerFast"})
    'XLMRobertaTokenizer'
    """
    given = config.get("tokenizer_class")
    if given == "BertJapaneseTokenizer":
        raise ValueError(f"tokenizer_class is {given!r}: {MECAB}")
    for name in JAPANESE:
        if config.get(name) is not None:
            raise ValueError(f"{name} is {config[name]!r}: {MECAB}")
    for name, accepted in REFUSED.items():
        if (value := config.get(name)) not in accepted:
            raise ValueError(f"{name} is {value!r} in the tokenizer's files, but only {accepted[1]!r} can be read")
    known = DEFAULT if given is None else str(given).removesuffix("Fast")
    if known not in CLASSES:
        raise ValueError(f"tokenizer_class is {given!r}, but must be one of {', '.join(CLASSES)}")
    return known
