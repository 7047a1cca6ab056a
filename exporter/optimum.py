"""ONNX configurations of DPR for optimum's exporter, which does not support DPR by itself.

`onnx_configs(model)` is for the argument `custom_onnx_configs` of optimum's functions:

    >>> from optimum.exporters.onnx import onnx_export_from_model
    >>> from transformers import DPRReader, DPRReaderTokenizer
    >>> from dpr_export.exporter.optimum import onnx_configs
    >>> name = "facebook/dpr-reader-single-nq-base"
    >>> model = DPRReader.from_pretrained(name)
    >>> onnx_export_from_model(
    ...     model, "reader-optimum", task="feature-extraction", custom_onnx_configs=onnx_configs(model)
    ... )

    >>> from optimum.onnxruntime import ORTModelForCustomTasks
    >>> tokenizer = DPRReaderTokenizer.from_pretrained(name)
    >>> encoded = tokenizer("Who wrote Hamlet?", "Hamlet", "A play by William Shakespeare.", return_tensors="pt")
    >>> outputs = ORTModelForCustomTasks.from_pretrained("reader-optimum")(**encoded)
    >>> outputs.relevance_logits.shape
    torch.Size([1])

Use `task="feature-extraction"` for every kind: optimum has no task for a reader. The graph is traced from transformers'
forward pass. optimum compares one call of one size with PyTorch, and only warns if the outputs differ.

Load the model with the class of its checkpoint. `main_export` uses `AutoModel` instead, which makes a question encoder
with random weights from any other DPR checkpoint; that is refused here. With `fn_get_submodels=lambda _: {"model":
model}`, `main_export` exports the model that it is given.

For the same reason DPR is not registered with optimum (`TasksManager.create_register("onnx")("dpr",
"feature-extraction")(DPROnnxConfig)` does it). `optimum-cli` takes no custom configurations.
"""

import copy
from typing import Any

from dpr_export.exporter.options import DEFAULT_OPSET
from dpr_export.models.artifact.reference_outputs import ATOL
from dpr_export.models.kinds import Kind, find_kind
from dpr_export.models.telemetry import no_telemetry

try:
    with no_telemetry():
        import transformers
        from optimum.exporters.onnx.config import TextEncoderOnnxConfig
        from optimum.utils import DEFAULT_DUMMY_SHAPES, NormalizedTextConfig
except ModuleNotFoundError as error:
    raise ImportError(f'{error.name} is not installed: pip install "dpr-export[optimum]"') from error

_ROWS = {0: "batch_size"}
_TOKENS = {0: "batch_size", 1: "sequence_length"}


class DPROnnxConfig(TextEncoderOnnxConfig):  # type: ignore[misc]
    """The ONNX configuration of a DPR model, whose kind is read from `architectures` in its configuration.

    Args:
        config: a transformers.DPRConfig.
        task, preprocessors, int_dtype, float_dtype: as in every configuration of optimum; leave them out.
    """

    NORMALIZED_CONFIG_CLASS = NormalizedTextConfig
    DEFAULT_ONNX_OPSET = DEFAULT_OPSET
    ATOL_FOR_VALIDATION = ATOL  # like dpr-export, optimum adds 1e-5 x |reference|

    @property
    def kind(self) -> Kind:
        """The kind of model; a ValueError if the configuration does not name exactly one."""
        return find_kind(self._config.architectures)

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        """The dynamic axes of each input of the graph."""
        return {name: dict(_TOKENS) for name in self.kind.inputs}

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        """The dynamic axes of each output of the graph."""
        kind = self.kind
        return {name: dict(_TOKENS if name in kind.token_outputs else _ROWS) for name in kind.outputs}

    def generate_dummy_inputs(self, framework: str = "pt", **shapes: Any) -> dict[str, Any]:
        """Random inputs within the model's positions and token types."""
        length = shapes.get("sequence_length", DEFAULT_DUMMY_SHAPES["sequence_length"])
        shapes["sequence_length"] = min(length, self._config.max_position_embeddings)
        made: dict[str, Any] = super().generate_dummy_inputs(framework=framework, **shapes)
        if "token_type_ids" in made:
            made["token_type_ids"] = made["token_type_ids"] % self._config.type_vocab_size
        return made

    def patch_model_for_export(self, model: Any, model_kwargs: dict[str, Any] | None = None) -> Any:
        """Prepare a model for tracing or comparing; optimum calls this with every model.

        Raises:
            ValueError: the model's class is not the one that its configuration names.
        """
        _refuse_other_class(model, self.kind)
        return super().patch_model_for_export(model, model_kwargs=model_kwargs)


def onnx_configs(model: transformers.PreTrainedModel) -> dict[str, DPROnnxConfig]:
    """Make the value for the argument `custom_onnx_configs` of optimum's functions.

    Args:
        model: a transformers.DPRQuestionEncoder, DPRContextEncoder or DPRReader.

    Returns:
        A dictionary with one configuration, under "model", the name of the graph's file.

    Raises:
        ValueError: it is not a DPR model, or its class is not the one of its checkpoint.

    Example:
        >>> from transformers import DPRConfig, DPRReader
        >>> model = DPRReader(DPRConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2))
        >>> list(onnx_configs(model)["model"].outputs)
        ['start_logits', 'end_logits', 'relevance_logits']
    """
    config = copy.deepcopy(model.config)
    config.architectures = config.architectures or [type(model).__name__]  # a new model has none
    _refuse_other_class(model, find_kind(config.architectures))
    return {"model": DPROnnxConfig(config)}


def _refuse_other_class(model: Any, kind: Kind) -> None:
    if not isinstance(model, getattr(transformers, kind.architecture)):
        raise ValueError(
            f"the model is a {type(model).__name__}, and its configuration a {kind.architecture}'s, so its weights are "
            f"random: give onnx_export_from_model what transformers.{kind.architecture}.from_pretrained loads"
        )
