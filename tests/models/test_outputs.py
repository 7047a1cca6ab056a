"""Outputs answer to attribute, key, index, slice and iteration as transformers' do."""

import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.dpr import modeling_dpr

from dpr_export.models import outputs

FIELDS = {
    "DPRQuestionEncoderOutput": ("pooler_output",),
    "DPRContextEncoderOutput": ("pooler_output",),
    "DPRReaderOutput": ("start_logits", "end_logits", "relevance_logits"),
}
READS: list[Callable[[Any], Any]] = [
    list,
    len,
    lambda out: list(out.keys()),
    lambda out: [value.tolist() for value in out.values()],
    lambda out: [(name, value.tolist()) for name, value in out.items()],
    lambda out: [value.tolist() for value in out.to_tuple()],
    lambda out: [value.tolist() for value in out[:]],
    lambda out: [value.tolist() for value in out[1:]],
    lambda out: out[0].tolist(),
    lambda out: out[-1].tolist(),
    lambda out: out[1].tolist(),
    lambda out: out[4].tolist(),
    lambda out: out["attentions"],
    lambda out: out["hidden_states"],
    lambda out: out["no_such"],
    lambda out: out.attentions,
    lambda out: out.no_such,
    lambda out: out.get("attentions", "absent"),
    lambda out: "attentions" in out,
    lambda out: isinstance(out, Mapping),
]


def result(read: Callable[[Any], Any], output: Any) -> Any:
    try:
        return read(output)
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("extra", [(), ("hidden_states",), ("attentions",), ("hidden_states", "attentions")])
def test_every_way_of_reading_gives_what_transformers_gives(name: str, extra: tuple[str, ...]) -> None:
    arrays = {field: np.full((2, 2), float(i)) for i, field in enumerate((*FIELDS[name], *extra))}
    ours = getattr(outputs, name)(**arrays)
    theirs = getattr(modeling_dpr, name)(**{field: torch.from_numpy(array) for field, array in arrays.items()})
    for position, read in enumerate(READS):
        found, expected = result(read, ours), result(read, theirs)
        if isinstance(expected, torch.Tensor):
            found, expected = found.tolist(), expected.tolist()
        assert found == expected, f"read number {position}"


def test_outputs_can_be_pickled_and_changed() -> None:
    output = outputs.DPRReaderOutput(np.zeros((1, 2)), np.ones((1, 2)), np.ones(1))
    copy = pickle.loads(pickle.dumps(output))
    assert type(copy) is outputs.DPRReaderOutput
    assert np.array_equal(copy.end_logits, output.end_logits)
    output["start_logits"] = np.full((1, 2), 5.0)
    assert output.start_logits[0, 0] == 5.0
    with pytest.raises(KeyError):
        output["no_such"] = np.ones(1)
