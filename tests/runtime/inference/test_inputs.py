"""Every fault in a call is one clear error, and every right call is what the graph takes."""

from typing import Any

import numpy as np
import pytest
import torch

from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import CONTEXT, QUESTION, READER
from dpr_export.runtime.inference.inputs import check_inputs

CONFIG = DPRConfig(vocab_size=10, max_position_embeddings=4, type_vocab_size=2)
IDS = [[1, 2, 0], [3, 0, 0]]


@pytest.mark.parametrize("make", [list, np.array, torch.tensor, lambda ids: np.array(ids, np.int32), tuple])
def test_lists_arrays_and_tensors_give_the_same_int64_feeds(make: Any) -> None:
    feeds = check_inputs(QUESTION, CONFIG, make(IDS))
    assert {name: array.tolist() for name, array in feeds.items()} == {
        "input_ids": IDS,
        "attention_mask": [[1, 1, 0], [1, 0, 0]],
        "token_type_ids": [[0, 0, 0], [0, 0, 0]],
    }
    assert {array.dtype for array in feeds.values()} == {np.dtype(np.int64)}


def test_without_a_mask_the_reader_attends_to_padding() -> None:
    feeds = check_inputs(READER, CONFIG, IDS)
    assert list(feeds) == ["input_ids", "attention_mask"]
    assert feeds["attention_mask"].all()


def test_without_a_mask_an_encoder_leaves_out_its_own_pad_token() -> None:
    config = DPRConfig(vocab_size=10, pad_token_id=3)
    assert check_inputs(CONTEXT, config, IDS)["attention_mask"].tolist() == [[1, 1, 1], [0, 1, 1]]


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.float16, np.float32])
def test_a_mask_may_be_of_any_type(dtype: Any) -> None:
    mask = np.array([[1, 1, 0], [0, 0, 0]], dtype=dtype)
    assert check_inputs(READER, CONFIG, IDS, mask)["attention_mask"].tolist() == [[1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[1, 10]],), IndexError, r"input_ids\[0, 1\] is 10, but the vocabulary has 10 entries \(0\.\.9\)"),
        (([[1, -1]],), IndexError, r"input_ids\[0, 1\] is -1"),
        (([[1, 2**40]],), IndexError, "input_ids"),
        (([1, 2],), ValueError, r"input_ids has shape \(2,\), and must have 2 dimensions"),
        (([[[1]]],), ValueError, r"input_ids has shape \(1, 1, 1\)"),
        (([[1], [1, 2]],), ValueError, "input_ids"),
        (([],), ValueError, "input_ids"),
        (([[]],), ValueError, r"input_ids has shape \(1, 0\): at least one row and one token"),
        (([[1.0]],), ValueError, "input_ids has type float64, and must hold integers"),
        (([[True]],), ValueError, "input_ids has type bool"),
        (([["a"]],), ValueError, "input_ids has type"),
        (("text",), ValueError, "input_ids"),
        (([[None]],), ValueError, "input_ids"),
        (([[1] * 5],), ValueError, "input_ids has 5 tokens a row, and the model has 4 positions"),
        ((IDS, [[1, 1, 1]]), ValueError, r"attention_mask has shape \(1, 3\), and input_ids has \(2, 3\)"),
        (([[1, 2]], [[1, 0.5]]), ValueError, r"attention_mask\[0, 1\] is 0\.5, and must be 0 or 1"),
        (([[1, 2]], [[1, float("nan")]]), ValueError, r"attention_mask\[0, 1\] is nan"),
        (([[1, 2]], [[1, 2]]), ValueError, r"attention_mask\[0, 1\] is 2"),
        (([[1, 2]], None, [[0, 2]]), IndexError, r"token_type_ids\[0, 1\] is 2, but the table of token types has 2"),
        (([[1, 2]], None, [[0]]), ValueError, r"token_type_ids has shape \(1, 1\)"),
    ],
)
def test_a_wrong_argument_is_named_with_its_value_and_bound(
    arguments: tuple, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        check_inputs(QUESTION, CONFIG, *arguments)
