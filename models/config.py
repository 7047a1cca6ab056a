"""The configuration of a DPR model, read from `config.json` of transformers and written to it.

The dataclass names the fields that change what a model computes or how it is called. All other fields are kept in
`extra`, so that nothing is lost when a configuration is saved again.
"""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dpr_export.models.artifact.hub import HubOptions
from dpr_export.models.artifact.records import read_json
from dpr_export.models.artifact.resolve import resolve_files

CONFIG_FILE = "config.json"
_MINIMUM = {
    "vocab_size": 1,
    "hidden_size": 1,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 1,
    "max_position_embeddings": 2,
    "type_vocab_size": 1,
    "projection_dim": 0,
}
POOLINGS = ("cls", "pooler", "mean")
_OURS = {"pooling": "cls", "normalize": False}  # no fields of transformers, so these defaults are not written
_MAX_LAYERS = 1000  # a model is built layer by layer, and seems to hang with a huge number of them


@dataclass(kw_only=True)
class DPRConfig:
    """The configuration of a question encoder, a context encoder or a reader.

    The defaults are those of transformers. `extra` holds the fields without a name here; they are attributes too.

    Two fields are not transformers'. They say what an encoder makes of its last hidden states: `pooling` is "cls" (the
    vector of [CLS], as in DPR), "pooler" (BERT's: a linear layer and tanh of that vector) or "mean" (of the tokens that
    the attention mask has); and `normalize`, whether the vector is then divided by its length, after the projection.

    >>> config = DPRConfig(projection_dim=128)
    >>> config.hidden_size, config.dim
    (768, 128)
    >>> DPRConfig.from_dict({"hidden_size": 384, "my_field": 1}).my_field
    1
    """

    architectures: list[str] | None = None
    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    position_embedding_type: str = "absolute"
    projection_dim: int = 0
    is_decoder: bool = False
    add_cross_attention: bool = False
    return_dict: bool = True
    output_hidden_states: bool = False
    output_attentions: bool = False
    pooling: str = "cls"
    normalize: bool = False
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    model_type = "dpr"

    @property
    def dim(self) -> int:
        """The size of an encoder's vector: `projection_dim`, or `hidden_size` if that is 0."""
        return self.projection_dim or self.hidden_size

    def __getattr__(self, name: str) -> Any:
        extra = self.__dict__.get("extra", {})
        if name in extra:
            return extra[name]
        raise AttributeError(f"'DPRConfig' has no field '{name}'")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DPRConfig":
        """Build a configuration from the content of a `config.json`.

        Raises:
            ValueError: a field has the wrong type, or a size is out of bounds.
        """
        for name, least in _MINIMUM.items():
            value = values.get(name, least)
            if type(value) is not int or value < least:
                raise ValueError(f"{name} in {CONFIG_FILE} is {value!r}, and must be a whole number from {least}")
        if values.get("num_hidden_layers", 1) > _MAX_LAYERS:
            layers = values["num_hidden_layers"]
            raise ValueError(f"num_hidden_layers in {CONFIG_FILE} is {layers}, and must be at most {_MAX_LAYERS}")
        padding = values.get("pad_token_id")
        if padding is not None and type(padding) is not int:
            raise ValueError(f"pad_token_id in {CONFIG_FILE} is {padding!r}, and must be a whole number or null")
        architectures = values.get("architectures")
        if architectures is not None and not isinstance(architectures, list):
            raise ValueError(f"architectures in {CONFIG_FILE} is {architectures!r}, and must be a list")
        if (pooling := values.get("pooling", "cls")) not in POOLINGS:
            raise ValueError(f"pooling in {CONFIG_FILE} is {pooling!r}, and must be one of: {', '.join(POOLINGS)}")
        if type(normalize := values.get("normalize", False)) is not bool:
            raise ValueError(f"normalize in {CONFIG_FILE} is {normalize!r}, and must be true or false")
        named = {f.name for f in fields(cls)} - {"extra"}
        extra = {key: value for key, value in values.items() if key not in named and key != "model_type"}
        return cls(**{key: value for key, value in values.items() if key in named}, extra=extra)

    def to_dict(self) -> dict[str, Any]:
        """Return every field of `config.json`, including `extra`."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "extra"}
        for name, default in _OURS.items():
            if named[name] == default:
                del named[name]
        return {"model_type": self.model_type, **named, **self.extra}

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> "DPRConfig":
        """Read `config.json` from a checkpoint or an exported folder.

        Args:
            folder: the folder, or a name on the hub.
            revision, token, cache_dir, local_files_only: as in `DPRReader.from_pretrained`.

        Raises:
            OSError: there is no `config.json`, or it cannot be downloaded.
            ValueError: it is not JSON, or describes another model than DPR.
        """
        hub = HubOptions(revision, token, cache_dir, local_files_only)
        return cls.read(resolve_files([CONFIG_FILE], folder, hub))

    @classmethod
    def read(cls, folder: Path) -> "DPRConfig":
        """As `from_pretrained`, from a folder that is known to be on this machine."""
        path = folder / CONFIG_FILE
        if not path.is_file():
            raise OSError(f"no {CONFIG_FILE} in {path.parent}")
        values = read_json(path)
        if not isinstance(values, dict) or values.get("model_type", "dpr") != "dpr":
            found = values.get("model_type") if isinstance(values, dict) else type(values).__name__
            raise ValueError(f"{path} is not a DPR model's: model_type is {found!r}, not 'dpr'")
        return cls.from_dict(values)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` to a folder, which is made if it does not exist."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=2, sort_keys=True, ensure_ascii=False)
        (Path(folder) / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
