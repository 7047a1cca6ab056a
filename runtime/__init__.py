"""Exported DPR models, run without PyTorch: change one import line and the program stays as it is."""

from dpr_export.models.config import DPRConfig
from dpr_export.models.outputs import (
    DPRContextEncoderOutput,
    DPRQuestionEncoderOutput,
    DPRReaderOutput,
    DPRSpanPrediction,
)
from dpr_export.models.tokenization.encoder_tokenizers import (
    DPRContextEncoderTokenizer,
    DPRContextEncoderTokenizerFast,
    DPRQuestionEncoderTokenizer,
    DPRQuestionEncoderTokenizerFast,
)
from dpr_export.models.tokenization.reader_tokenizer import DPRReaderTokenizer, DPRReaderTokenizerFast
from dpr_export.runtime.inference.answers import Answer
from dpr_export.runtime.inference.encoders import DPRContextEncoder, DPRQuestionEncoder
from dpr_export.runtime.inference.reader import DPRReader

__all__ = [
    "Answer",
    "DPRConfig",
    "DPRContextEncoder",
    "DPRContextEncoderOutput",
    "DPRContextEncoderTokenizer",
    "DPRContextEncoderTokenizerFast",
    "DPRQuestionEncoder",
    "DPRQuestionEncoderOutput",
    "DPRQuestionEncoderTokenizer",
    "DPRQuestionEncoderTokenizerFast",
    "DPRReader",
    "DPRReaderOutput",
    "DPRReaderTokenizer",
    "DPRReaderTokenizerFast",
    "DPRSpanPrediction",
]
