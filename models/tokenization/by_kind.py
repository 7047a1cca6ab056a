"""The table of tokenizer classes, by the name of a kind."""

from dpr_export.models.tokenization.encoder_tokenizers import (
    BertTokenizer,
    DPRContextEncoderTokenizer,
    DPRQuestionEncoderTokenizer,
)
from dpr_export.models.tokenization.reader_tokenizer import DPRReaderTokenizer

TOKENIZER_CLASSES: dict[str, type[BertTokenizer]] = {
    "question": DPRQuestionEncoderTokenizer,
    "context": DPRContextEncoderTokenizer,
    "reader": DPRReaderTokenizer,
}
