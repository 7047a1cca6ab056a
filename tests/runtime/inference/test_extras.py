"""Calls with hidden states, attentions and embeddings, and with all arguments in the first place: as transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.kinds import KINDS
from dpr_export.runtime import DPRContextEncoder, DPRQuestionEncoder, DPRReader
from dpr_export.runtime.inference.encoders import _Encoder

CLASSES = {"question": DPRQuestionEncoder, "context": DPRContextEncoder, "reader": DPRReader}
OPTIONS = [
    {"output_hidden_states": hidden, "output_attentions": attentions, "return_dict": as_dict}
    for hidden in (True, None)
    for attentions in (True, False)
    for as_dict in (True, False)
]


def reference(folder: Path, kind: str) -> transformers.PreTrainedModel:
    source = folder.with_name(f"{kind}-checkpoint")
    return getattr(transformers, KINDS[kind].architecture).from_pretrained(source, attn_implementation="eager")


def batch(length: int = 11) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    mask = np.ones((3, length), int)
    mask[1, 6:] = mask[2, 3:5] = 0
    return {"input_ids": generator.integers(1, 120, (3, length)), "attention_mask": mask}


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def flat(output: Any) -> list[np.ndarray]:
    values = output if isinstance(output, tuple) else output.to_tuple()
    return [np.asarray(each) for value in values for each in (value if isinstance(value, tuple) else (value,))]


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_every_option_gives_what_transformers_gives(tiny_whole: dict[str, Path], kind: str, backend: str) -> None:
    theirs = reference(tiny_whole[kind], kind)
    with CLASSES[kind].from_pretrained(tiny_whole[kind], backend=backend) as ours, torch.no_grad():
        for options in OPTIONS:
            found = ours(**batch(), **options)
            # As a tuple, transformers 5 loses the first of them; version 4 gives the dataclass's fields in order.
            expected = theirs(**tensors(batch()), **options | {"return_dict": True})
            assert isinstance(found, tuple) is (options["return_dict"] is False)
            if options["return_dict"]:
                assert list(found) == list(expected)
            assert len(found) == len(expected)
            for one, other in zip(flat(found), flat(expected), strict=True):
                assert one.dtype == np.float32
                np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("masked", [True, False])
def test_embeddings_in_place_of_ids_give_what_transformers_gives(
    tiny_whole: dict[str, Path], kind: str, masked: bool
) -> None:
    theirs = reference(tiny_whole[kind], kind)
    (table,) = (weight.detach() for name, weight in theirs.named_parameters() if "word_embeddings" in name)
    arrays = batch()
    arrays["input_ids"][0, 8:] = 0  # padding, which no mask made of embeddings can leave out
    mask = {"attention_mask": arrays["attention_mask"]} if masked else {}
    embeds = table[torch.from_numpy(arrays["input_ids"])]
    with CLASSES[kind].from_pretrained(tiny_whole[kind]) as ours, torch.no_grad():
        found = ours(inputs_embeds=embeds, **tensors(mask), output_attentions=True)
        expected = theirs(inputs_embeds=embeds, **tensors(mask), output_attentions=True)
        assert list(found) == list(expected)
        assert isinstance(found[0], torch.Tensor)
        for one, other in zip(flat(found), flat(expected), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
        if masked:
            same = ours(**arrays)
            np.testing.assert_allclose(same[0], found[0], atol=1e-5)
        again = ours(inputs_embeds=embeds.numpy().astype(np.float64), **mask)
        assert isinstance(again[0], np.ndarray)
        assert np.array_equal(again[0], found[0].numpy())


@pytest.mark.parametrize("kind", CLASSES)
def test_a_tuple_has_all_of_them_in_the_order_of_transformers_4(tiny_whole: dict[str, Path], kind: str) -> None:
    asked = {"output_hidden_states": True, "output_attentions": True, "return_dict": False}
    with CLASSES[kind].from_pretrained(tiny_whole[kind]) as model:
        found = model(**batch(), **asked)
    *arrays, hidden_states, attentions = found
    assert len(arrays) == len(KINDS[kind].outputs)
    assert [state.shape for state in hidden_states] == [(3, 11, 32)] * 3
    assert [weights.shape for weights in attentions] == [(3, 4, 11, 11)] * 2


def test_the_configuration_decides_where_a_call_does_not(tiny_whole: dict[str, Path]) -> None:
    with DPRReader.from_pretrained(tiny_whole["reader"]) as model:
        model.config.output_attentions = True
        assert list(model(**batch())) == ["start_logits", "end_logits", "relevance_logits", "attentions"]
        assert len(model(**batch(), output_attentions=False)) == 3
        model.config.return_dict = False
        assert len(model(**batch(), output_hidden_states=True)) == 5


def test_what_a_folder_does_not_hold_is_answered_with_the_option_that_makes_it(tiny: dict[str, Path]) -> None:
    with DPRQuestionEncoder.from_pretrained(tiny["question"]) as model:
        with pytest.raises(ValueError, match=r"output_hidden_states is True, and .* with --output-hidden-states"):
            model(**batch(), output_hidden_states=True)
        with pytest.raises(ValueError, match=r"output_attentions is True, and .* with --output-attentions"):
            model(**batch(), output_attentions=True)
        with pytest.raises(ValueError, match=r"inputs_embeds are given, and .* with --inputs-embeds"):
            model(inputs_embeds=np.zeros((1, 2, 32), np.float32))


@pytest.mark.parametrize(
    ("embeds", "message"),
    [
        (np.zeros((1, 2, 31), np.float32), r"inputs_embeds has shape \(1, 2, 31\), and the model's hidden_size is 32"),
        (np.zeros((1, 2), np.float32), r"must have 3 dimensions: \(batch, sequence, hidden\)"),
        (np.zeros((1, 2, 32), np.int64), "inputs_embeds has type int64, and must hold floats"),
        (np.zeros((1, 0, 32), np.float32), "at least one row and one token"),
        (np.zeros((1, 513, 32), np.float32), "513 tokens a row, and the model has 512 positions"),
    ],
)
def test_wrong_embeddings_are_refused(tiny_whole: dict[str, Path], embeds: np.ndarray, message: str) -> None:
    with DPRReader.from_pretrained(tiny_whole["reader"]) as model:
        with pytest.raises(ValueError, match=message):
            model(inputs_embeds=embeds)
        with pytest.raises(ValueError, match="You cannot specify both input_ids and inputs_embeds at the same time"):
            model(batch()["input_ids"], inputs_embeds=embeds)
        with pytest.raises(ValueError, match=r"attention_mask has shape \(3, 2\), and inputs_embeds has \(1, 2, 32\)"):
            model(inputs_embeds=np.zeros((1, 2, 32), np.float32), attention_mask=np.ones((3, 2), int))


def test_a_graph_for_embeddings_that_was_damaged_is_refused(tiny_whole: dict[str, Path], tmp_path: Path) -> None:
    ExportedFolder.open(tiny_whole["question"])
    with DPRQuestionEncoder.from_pretrained(tiny_whole["question"]) as model:
        model.save_pretrained(tmp_path / "copy")
    with DPRQuestionEncoder.from_pretrained(tmp_path / "copy") as model:
        (tmp_path / "copy" / "onnx" / "model_embeds.onnx").write_bytes(b"short")
        with pytest.raises(ValueError, match=r"model_embeds\.onnx has 5 bytes, and the manifest says"):
            model(inputs_embeds=np.zeros((1, 2, 32), np.float32))


def test_a_closed_model_opens_no_graph_for_embeddings(tiny_whole: dict[str, Path]) -> None:
    model = DPRQuestionEncoder.from_pretrained(tiny_whole["question"])
    embeds = np.zeros((1, 2, 32), np.float32)
    model(inputs_embeds=embeds)
    model.close()
    with pytest.raises(RuntimeError, match="closed"):
        model(inputs_embeds=embeds)
    with DPRQuestionEncoder.from_pretrained(tiny_whole["question"]) as never:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        never(inputs_embeds=embeds)


@pytest.mark.parametrize("kind", CLASSES)
def test_all_arguments_may_come_in_the_first_place(tiny_whole: dict[str, Path], kind: str) -> None:
    arrays = batch()
    with CLASSES[kind].from_pretrained(tiny_whole[kind]) as model:
        expected = flat(model(**arrays))
        ids, mask = arrays["input_ids"], arrays["attention_mask"]
        types = np.zeros_like(ids)
        in_order = [ids, mask, types] if isinstance(model, _Encoder) else [ids, mask]
        forms = [arrays, in_order, tuple(in_order[:2]), [ids.tolist(), mask.tolist()]]
        for form in forms:
            for found, wanted in zip(flat(model(form)), expected, strict=True):
                assert np.array_equal(found, wanted)
        assert np.array_equal(flat(model([ids]))[0], flat(model(ids))[0])
        assert np.array_equal(flat(model(ids.tolist()))[0], flat(model(ids))[0])
        assert np.array_equal(flat(model([*ids]))[0], flat(model(ids))[0]), "a list of rows is one batch"
        assert isinstance(model([torch.from_numpy(ids)])[0], torch.Tensor)
        assert isinstance(model({**arrays, "return_dict": False}), tuple)
        assert len(model(arrays, output_attentions=True)) == len(model(arrays)) + 1
        table = np.zeros((1, 2, 32), np.float32)
        assert np.array_equal(flat(model({"inputs_embeds": table}))[0], flat(model(inputs_embeds=table))[0])


@pytest.mark.parametrize(
    ("first", "named", "message"),
    [
        ({"input_ids": [[1]], "nonsense": 1}, {}, "takes no 'nonsense'"),
        ({"input_ids": [[1]], "attention_mask": [[1]]}, {"attention_mask": [[1]]}, "attention_mask is given twice"),
        ([[[1]], [[1]]], {"attention_mask": [[1]]}, "attention_mask is given twice"),
        ([[[1]]] * 5, {}, "input_ids is a list of 5 arguments"),
    ],
)
def test_arguments_in_the_first_place_that_make_no_sense_are_refused(
    tiny: dict[str, Path], first: Any, named: dict, message: str
) -> None:
    with DPRQuestionEncoder.from_pretrained(tiny["question"]) as model, pytest.raises(TypeError, match=message):
        model(first, **named)


def test_vectors_and_answers_are_the_same_from_a_graph_that_gives_more(
    tiny: dict[str, Path], tiny_whole: dict[str, Path]
) -> None:
    texts = ["who wrote hamlet ?", "a play by shakespeare", "paris"]
    with (
        DPRQuestionEncoder.from_pretrained(tiny["question"]) as plain,
        DPRQuestionEncoder.from_pretrained(tiny_whole["question"]) as whole,
    ):
        np.testing.assert_allclose(whole.encode(texts), plain.encode(texts), atol=1e-5)
    with (
        DPRReader.from_pretrained(tiny["reader"]) as plain_reader,
        DPRReader.from_pretrained(tiny_whole["reader"]) as whole_reader,
    ):
        asked = ("who ?", ["hamlet", "paris"], ["a play by shakespeare", "the capital of france"])
        answers = [[(a.text, a.passage) for a in model.answer(*asked)] for model in (plain_reader, whole_reader)]
        assert answers[0] == answers[1]
