"""What transformers' own tests ask of its three DPR models, in PyTorch and in TensorFlow, asked of ours."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from dpr_export import runtime
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import KINDS
from tests.from_transformers.conftest import Both

LAYERS, HEADS, HIDDEN, LENGTH, ROWS = 2, 4, 32, 7, 3
EVERYTHING = {"output_hidden_states": True, "output_attentions": True}


@pytest.fixture(scope="module")
def models(tiny_whole: dict[str, Path]) -> Iterator[dict[str, Both]]:
    """Of each kind ours, on ONNX Runtime, and transformers."""
    made = {}
    for kind, folder in tiny_whole.items():
        name = KINDS[kind].architecture
        source = folder.with_name(f"{kind}-checkpoint")
        theirs = getattr(transformers, name).from_pretrained(source, attn_implementation="eager").eval()
        made[kind] = Both(getattr(runtime, name).from_pretrained(folder, backend="onnxruntime"), theirs)
    yield made
    for both in made.values():
        both.ours.close()


@pytest.fixture(params=KINDS)
def both(request: pytest.FixtureRequest, models: dict[str, Both]) -> Both:
    return models[request.param]


def inputs(model: Any, seed: int = 0) -> dict[str, torch.Tensor]:
    """A call's arguments: random ids, a random mask that leaves in each row's first token, and token types."""
    chance = torch.Generator().manual_seed(seed)
    mask = torch.randint(0, 2, (ROWS, LENGTH), generator=chance)
    mask[:, 0] = 1
    drawn = {"input_ids": torch.randint(1, 120, (ROWS, LENGTH), generator=chance), "attention_mask": mask}
    types = {"token_type_ids": torch.randint(0, 2, (ROWS, LENGTH), generator=chance)}
    return drawn if model.kind.name == "reader" else drawn | types


def flat(output: Any) -> list[Any]:
    """Every array of an output, those in tuples too."""
    values = output if isinstance(output, tuple) else output.to_tuple()
    return [each for value in values for each in (value if isinstance(value, tuple) else (value,))]


def close(ours: Any, theirs: Any) -> None:
    assert len(flat(ours)) == len(flat(theirs))
    for mine, expected in zip(flat(ours), flat(theirs), strict=True):
        np.testing.assert_allclose(np.asarray(mine), expected.detach().numpy(), atol=2e-5)


def test_a_model_computes_what_transformers_computes(both: Both) -> None:
    ours, theirs = both
    given = inputs(ours)
    kind = ours.kind.name
    with torch.no_grad():
        for names in (["input_ids"], ["input_ids", "attention_mask"], list(given)):
            call = {name: given[name] for name in names}
            close(ours(**call), theirs(**call))
            close(ours(*call.values()), theirs(*call.values()))
    output = ours(**given)
    if kind == "reader":
        assert output.start_logits.shape == output.end_logits.shape == (ROWS, LENGTH)
        assert output.relevance_logits.shape == (ROWS,)
    else:
        assert output.pooler_output.shape == (ROWS, HIDDEN)


def test_a_model_computes_the_same_again(both: Both) -> None:
    first, second = (flat(both.ours(**inputs(both.ours), **EVERYTHING)) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_row_alone_gives_what_it_gives_in_a_batch(both: Both) -> None:
    given = inputs(both.ours)
    batch = both.ours(**given, **EVERYTHING)
    for row in range(ROWS):
        alone = both.ours(**{name: tensor[row : row + 1] for name, tensor in given.items()}, **EVERYTHING)
        for one, many in zip(flat(alone), flat(batch), strict=True):
            torch.testing.assert_close(one, many[row : row + 1], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [{}, {"output_hidden_states": True}, {"output_attentions": True}, EVERYTHING],
    ids=["plain", "hidden", "attentions", "everything"],
)
def test_a_tuple_holds_what_the_dataclass_holds(options: dict[str, bool], both: Both) -> None:
    given = inputs(both.ours)
    as_tuple = both.ours(**given, **options, return_dict=False)
    as_dataclass = both.ours(**given, **options, return_dict=True)
    assert isinstance(as_tuple, tuple)
    assert len(as_tuple) == len(as_dataclass) == len(as_dataclass.to_tuple())
    assert list(as_dataclass) == list(both.theirs(**given, **options))
    for one, other in zip(flat(as_tuple), flat(as_dataclass), strict=True):
        assert torch.equal(one, other)
    for place, name in enumerate(as_dataclass):
        assert as_dataclass[place] is as_dataclass[name] is getattr(as_dataclass, name)


def test_hidden_states_have_a_tensor_for_the_embeddings_and_for_each_layer(both: Both) -> None:
    given = inputs(both.ours)
    output = both.ours(**given, output_hidden_states=True)
    assert len(output.hidden_states) == LAYERS + 1
    assert all(tensor.shape == (ROWS, LENGTH, HIDDEN) for tensor in output.hidden_states)
    assert output.attentions is None
    with torch.no_grad():
        close(output, both.theirs(**given, output_hidden_states=True))


def test_attentions_have_a_tensor_for_each_layer_whose_rows_sum_to_one(both: Both) -> None:
    given = inputs(both.ours)
    output = both.ours(**given, output_attentions=True)
    assert len(output.attentions) == LAYERS
    for tensor in output.attentions:
        assert tensor.shape == (ROWS, HEADS, LENGTH, LENGTH)
        torch.testing.assert_close(tensor.sum(-1), torch.ones(ROWS, HEADS, LENGTH))
    assert output.hidden_states is None
    with torch.no_grad():
        close(output, both.theirs(**given, output_attentions=True))


def test_embeddings_of_ids_give_what_the_ids_give(both: Both) -> None:
    ours, theirs = both
    given = inputs(ours)
    (table,) = (weight.detach() for name, weight in theirs.named_parameters() if "word_embeddings" in name)
    with_ids = ours(**given, **EVERYTHING)
    ids = given.pop("input_ids")
    with_embeds = ours(inputs_embeds=table[ids], **given, **EVERYTHING)
    with torch.no_grad():
        close(with_embeds, theirs(inputs_embeds=table[ids], **given, **EVERYTHING))
    for one, other in zip(flat(with_ids), flat(with_embeds), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def test_arguments_come_by_name_by_place_or_all_in_the_first_as_in_tensorflow(both: Both) -> None:
    given = {name: tensor.numpy() for name, tensor in inputs(both.ours).items()}
    expected = flat(both.ours(**given))
    forms = [given, list(given.values()), tuple(given.values()), {**given, "return_dict": True}]
    for form in forms:
        for one, other in zip(flat(both.ours(form)), expected, strict=True):
            assert np.array_equal(one, other)
    encoded = runtime.DPRReaderTokenizer.from_pretrained(both.ours.tokenizer.name_or_path)(
        "who wrote", "hamlet", "a play", return_tensors="np"
    )
    if both.ours.kind.name == "reader":
        assert np.array_equal(both.ours(encoded).start_logits, both.ours(**encoded).start_logits)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.int16, np.uint8])
def test_integers_of_any_width_are_ids(dtype: type, both: Both) -> None:
    given = {name: tensor.numpy() for name, tensor in inputs(both.ours).items()}
    narrow = {name: array.astype(dtype) for name, array in given.items()}
    for one, other in zip(flat(both.ours(**narrow)), flat(both.ours(**given)), strict=True):
        assert np.array_equal(one, other)


def test_arrays_give_arrays_and_tensors_give_tensors(both: Both) -> None:
    given = inputs(both.ours)
    arrays = flat(both.ours(**{name: tensor.numpy() for name, tensor in given.items()}, **EVERYTHING))
    tensors = flat(both.ours(**given, **EVERYTHING))
    for array, tensor in zip(arrays, tensors, strict=True):
        assert isinstance(array, np.ndarray)
        assert isinstance(tensor, torch.Tensor)
        assert np.array_equal(array, tensor.numpy())


def test_ids_outside_the_vocabulary_are_refused(both: Both) -> None:
    for wrong in (120, 10**6, -1):
        with pytest.raises(IndexError, match=rf"input_ids\[0, 1\] is {wrong}, but the vocabulary has 120 entries"):
            both.ours(np.array([[1, wrong]]))


def test_a_saved_model_computes_the_same(both: Both, tmp_path: Path) -> None:
    given = inputs(both.ours)
    for _ in range(2):
        both.ours.save_pretrained(tmp_path)
        assert (tmp_path / "config.json").is_file()
        assert not (tmp_path / "generation_config.json").exists()
    with type(both.ours).from_pretrained(tmp_path, backend="onnxruntime") as again:
        for one, other in zip(flat(again(**given, **EVERYTHING)), flat(both.ours(**given, **EVERYTHING)), strict=True):
            assert torch.equal(one, other)


def test_the_first_argument_is_input_ids_and_the_rest_stand_in_transformers_order(both: Both) -> None:
    mine = [name for name in inspect.signature(type(both.ours).__call__).parameters if name != "self"]
    their_class = inspect.signature(type(both.theirs).forward).parameters
    assert mine == [name for name in their_class if name not in ("self", "kwargs", "return_dict")] + ["return_dict"]
    assert mine[0] == both.theirs.main_input_name


def test_a_configuration_has_what_every_configuration_has(both: Both, tmp_path: Path) -> None:
    ours, theirs = both.ours.config, both.theirs.config
    for name in ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size", "projection_dim"):
        assert getattr(ours, name) == getattr(theirs, name), name
    ours.hidden_size, before = 37, ours.hidden_size
    assert ours.hidden_size == 37
    ours.hidden_size = before
    assert DPRConfig(hidden_size=37, output_attentions=True).hidden_size == 37
    ours.save_pretrained(tmp_path)
    assert DPRConfig.from_pretrained(tmp_path).to_dict() == ours.to_dict()
    again = transformers.DPRConfig.from_pretrained(tmp_path)
    assert again.hidden_size == ours.hidden_size
    defaults = transformers.DPRConfig()
    for name in ("hidden_size", "num_hidden_layers", "layer_norm_eps", "hidden_act", "projection_dim", "pad_token_id"):
        assert getattr(DPRConfig(), name) == getattr(defaults, name)


def test_a_checkpoint_of_another_shape_is_not_loaded_as_one(both: Both, tmp_path: Path) -> None:
    """Mended: transformers makes the missing layers of random numbers where it is told to."""
    both.ours.save_pretrained(tmp_path)
    with pytest.raises(TypeError, match="projection_dim"):
        type(both.ours).from_pretrained(tmp_path, projection_dim=512)


def test_a_model_of_another_kind_is_not_loaded_as_one(models: dict[str, Both], tiny_whole: dict[str, Path]) -> None:
    """Mended: transformers loads a context encoder as any of the three, with random weights."""
    for kind, both in models.items():
        for other, folder in tiny_whole.items():
            if kind != other:
                with pytest.raises(ValueError, match=f"holds a {KINDS[other].architecture}, not a"):
                    type(both.ours).from_pretrained(folder)
