"""The configuration is read and written as transformers'."""

import json
from pathlib import Path

import pytest
import transformers

from dpr_export.models.config import DPRConfig


def test_defaults_are_those_of_transformers() -> None:
    ours, theirs = DPRConfig().to_dict(), transformers.DPRConfig().to_dict()
    shared = ours.keys() & theirs.keys()
    assert len(shared) >= 20
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


def test_a_config_json_of_transformers_is_read_and_written_without_loss(tmp_path: Path) -> None:
    transformers.DPRConfig(projection_dim=7, hidden_act="relu", my_own_field={"a": [1]}).save_pretrained(tmp_path)
    before = json.loads((tmp_path / "config.json").read_text())
    config = DPRConfig.from_pretrained(tmp_path)
    assert (config.projection_dim, config.hidden_act, config.dim) == (7, "relu", 7)
    assert config.my_own_field == {"a": [1]}
    config.save_pretrained(tmp_path / "again")
    after = json.loads((tmp_path / "again" / "config.json").read_text())
    assert before.items() <= after.items()
    assert transformers.DPRConfig.from_pretrained(tmp_path / "again").projection_dim == 7


def test_a_field_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no field 'no_such'"):
        _ = DPRConfig().no_such


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, OSError, "no config.json"),
        ("{", ValueError, "is not JSON"),
        ("[]", ValueError, "not a DPR model's"),
        ('{"model_type": "bert"}', ValueError, "model_type is 'bert'"),
    ],
)
def test_a_wrong_config_json_is_refused(
    tmp_path: Path, content: str | None, error: type[Exception], message: str
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(error, match=message):
        DPRConfig.from_pretrained(tmp_path)
