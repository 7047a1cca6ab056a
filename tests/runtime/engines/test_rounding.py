"""Lengths are rounded up for engines that like it, and nobody who calls a model sees that."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpr_export import runtime
from dpr_export.models.kinds import KINDS
from dpr_export.runtime.engines.length_rounding import rounded
from dpr_export.runtime.engines.session import Feeds
from dpr_export.runtime.inference.model import DPRModel
from tests.doubles.fake_session import FakeSession


@given(st.integers(1, 5), st.integers(1, 70), st.sampled_from([1, 8, 16]), st.integers(0, 2**32))
def test_what_is_added_is_not_attended_to(rows: int, length: int, multiple: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    feeds = {name: rng.integers(1, 9, (rows, length)) for name in ("input_ids", "token_type_ids")}
    feeds["attention_mask"] = rng.integers(0, 2, (rows, length))
    feeds["attention_mask"][:, 0] = 1
    result = rounded(feeds, multiple, most=70)
    width = result["attention_mask"].shape[1]
    assert width == min(70, length + -length % multiple)
    for name, array in result.items():
        assert np.array_equal(array[:, :length], feeds[name])
        assert not array[:, length:].any()


def test_a_row_that_attends_to_nothing_is_not_padded() -> None:
    feeds = {"input_ids": np.ones((2, 3), np.int64), "attention_mask": np.array([[1, 1, 1], [0, 0, 0]])}
    assert rounded(feeds, 8, most=512) is feeds


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 7, 8, 9, 31, 511, 512])
def test_the_call_gives_what_it_gives_without_rounding(tiny: dict[str, Path], kind: str, length: int) -> None:
    model_class: type[DPRModel] = getattr(runtime, KINDS[kind].architecture)
    ids = np.random.default_rng(length).integers(1, 100, (2, length))
    mask = np.ones_like(ids)
    mask[1, 1:] = 0
    with (
        model_class.from_pretrained(tiny[kind], backend="openvino", precision="fp32") as ours,
        model_class.from_pretrained(tiny[kind], backend="onnxruntime", precision="fp32") as exact,
    ):
        assert (ours._session.length_multiple, exact._session.length_multiple) == (8, 1)
        found, expected = ours(ids, mask), exact(ids, mask)
        for name in KINDS[kind].outputs:
            assert found[name].shape == expected[name].shape
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


def test_calls_and_batches_reach_the_session_rounded(tiny: dict[str, Path]) -> None:
    with runtime.DPRQuestionEncoder.from_pretrained(tiny["question"]) as real:
        config, tokenizer = real.config, real.tokenizer

    def compute(feeds: Feeds) -> Feeds:
        return {"pooler_output": np.zeros((len(feeds["input_ids"]), config.dim), np.float32)}

    fake = FakeSession(compute)
    fake.length_multiple = 8
    model = runtime.DPRQuestionEncoder(fake, config, tokenizer)
    model(np.ones((1, 9), int))
    model.encode(["who"])
    model.warmup(((1, 17),))
    assert [call["input_ids"].shape for call in fake.calls] == [(1, 16), (1, 8), (1, 24)]
