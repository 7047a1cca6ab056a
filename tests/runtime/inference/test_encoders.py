"""`encode` gives transformers' vectors, whatever stands beside a text and however batches are cut."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from dpr_export.runtime import DPRContextEncoder, DPRQuestionEncoder

TEXTS = ["who wrote hamlet ?", "", "paris", "a play by shakespeare. " * 20, "where was it ?"] * 3
TITLES = ["hamlet", "", "the capital of france", "play", "x"] * 3


def expected_vectors(folder: Path, *texts: list[str], zeros: bool = False) -> np.ndarray:
    """What transformers gives for one text at a time."""
    kind = "Question" if "question" in folder.name else "Context"
    tokenizer = getattr(transformers, f"DPR{kind}EncoderTokenizer").from_pretrained(folder)
    model = getattr(transformers, f"DPR{kind}Encoder").from_pretrained(folder, attn_implementation="eager")
    vectors = []
    for *title, text in zip(*texts, strict=True):
        lists = [*([each] for each in title if each), [text]]  # an empty title is none
        encoded = tokenizer(*lists, return_tensors="pt", truncation=True, max_length=512)
        if zeros:
            encoded["token_type_ids"] = torch.zeros_like(encoded["token_type_ids"])
        with torch.no_grad():
            vectors.append(model(**encoded).pooler_output[0].numpy())
    return np.stack(vectors)


@pytest.mark.parametrize("batch_tokens", [1, 64, 4096])
def test_questions_get_transformers_vectors_in_their_order(tiny: dict[str, Path], batch_tokens: int) -> None:
    with DPRQuestionEncoder.from_pretrained(tiny["question"]) as model:
        found = model.encode(TEXTS, batch_tokens=batch_tokens)
    expected = expected_vectors(tiny["question"].with_name("question-checkpoint"), TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not np.allclose(found[0], found[2], atol=1e-2)


@pytest.mark.parametrize("segments", ["hf", "dpr"])
def test_passages_get_transformers_vectors_with_either_kind_of_segments(tiny: dict[str, Path], segments: str) -> None:
    with DPRContextEncoder.from_pretrained(tiny["context"]) as model:
        found = model.encode(TEXTS, TITLES, segments=segments)
    source = tiny["context"].with_name("context-checkpoint")
    np.testing.assert_allclose(found, expected_vectors(source, TITLES, TEXTS, zeros=segments == "dpr"), atol=1e-5)
    other = expected_vectors(source, TITLES, TEXTS, zeros=segments == "hf")
    assert np.abs(found - other).max() > 1e-2


def test_passages_without_titles_are_encoded_alone(tiny: dict[str, Path]) -> None:
    with DPRContextEncoder.from_pretrained(tiny["context"]) as model:
        found = model.encode(TEXTS)
    expected = expected_vectors(tiny["context"].with_name("context-checkpoint"), TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_text_longer_than_the_model_is_cut(tiny: dict[str, Path]) -> None:
    with DPRQuestionEncoder.from_pretrained(tiny["question"]) as model:
        long, longer = model.encode(["play " * 510, "play " * 2000])
    np.testing.assert_allclose(long, longer, atol=1e-6)


def test_no_texts_give_no_vectors(tiny: dict[str, Path]) -> None:
    with DPRContextEncoder.from_pretrained(tiny["context"]) as model:
        assert model.encode([]).shape == (0, 32)
        assert model.encode([], []).shape == (0, 32)


def test_wrong_texts_are_refused_by_name(tiny: dict[str, Path]) -> None:
    with DPRContextEncoder.from_pretrained(tiny["context"]) as model:
        with pytest.raises(TypeError, match="texts is one string"):
            model.encode("who")
        with pytest.raises(TypeError, match=r"texts\[1\] is of type int"):
            model.encode(["who", 3])  # type: ignore[list-item]
        with pytest.raises(ValueError, match="titles has 1 entries and texts 2"):
            model.encode(["a", "b"], ["c"])
        with pytest.raises(ValueError, match="segments is 'x', and must be one of: hf, dpr"):
            model.encode(["a"], segments="x")
        with pytest.raises(ValueError, match="batch_tokens is 0"):
            model.encode(["a"], batch_tokens=0)


def test_what_the_model_has_no_embedding_for_is_refused(tiny: dict[str, Path]) -> None:
    with DPRContextEncoder.from_pretrained(tiny["context"]) as model:
        model.tokenizer.add_tokens([f"added{number}" for number in range(120)])
        with pytest.raises(IndexError, match=r"input_ids has 1\d\d, but the vocabulary has 120 entries \(0\.\.119\)"):
            model.encode(["added119"])
        model.config.type_vocab_size = 1
        with pytest.raises(IndexError, match=r"token_type_ids has 1, but the table of token types has 1 entries"):
            model.encode(["a play"], ["hamlet"])
        assert model.encode(["a play"], ["hamlet"], segments="dpr").shape == (1, 32)


def test_windows_get_the_vectors_of_their_texts(tiny: dict[str, Path]) -> None:
    done = []
    with DPRQuestionEncoder.from_pretrained(tiny["question"]) as model:
        windows = [model.tokenize([(text,) for text in TEXTS[first : first + 4]]) for first in range(0, 15, 4)]
        found = list(model.encode_windows(windows, batch_tokens=16, on_progress=done.append))
        expected = model.encode(TEXTS)
    assert [len(vectors) for vectors in found] == [4, 4, 4, 3]
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)
    assert sum(done) == 15


def test_progress_is_drawn_on_standard_error(tiny: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    with DPRQuestionEncoder.from_pretrained(tiny["question"]) as model:
        model.encode(["who", "what"], show_progress=True)
    captured = capsys.readouterr()
    assert "2/2" in captured.err
    assert captured.out == ""
