"""What optimum's ONNX exporter has to be told of DPR, which its registry does not have: for those who use its API.

`onnx_configs(model)` is for the argument `custom_onnx_configs` of optimum's functions. The model is one that the class
in its `config.json` loaded, and goes to `onnx_export_from_model`:

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

`task` is "feature-extraction" for every kind: optimum has no name for what a reader does, and its own guess knows the
question encoder alone. The graph is the model's own forward pass, and computes what `dpr-export`'s does. But optimum
compares one call of one size, and where that differs by more than the tolerance it logs a warning.

`main_export` loads a name with `AutoModel`, which makes a question encoder of every DPR checkpoint: of a context
encoder's or a reader's, one with random weights, which is refused here. It exports a model that was loaded rightly
where it is given `fn_get_submodels=lambda _: {"model": model}` as well.

Left out: an entry in optimum's registry, made by this import, since all that is found there is loaded with `AutoModel`.
Who wants one can have it: `TasksManager.create_register("onnx")("dpr", "feature-extraction")(DPROnnxConfig)`. And
`optimum-cli`, which cannot be given configurations, and looks for additions in optimum's own folders only: dpr-export
would have to write there wherever it is installed, optimum or no optimum.
"""

import copy
from typing import Any

from dpr_export.exporter.options import DEFAULT_OPSET
from dpr_export.models.artifact.reference_outputs import ATOL
from dpr_export.models.kinds import Kind, find_kind

try:
    import transformers
    from optimum.exporters.onnx.config import TextEncoderOnnxConfig
    from optimum.utils import DEFAULT_DUMMY_SHAPES, NormalizedTextConfig
except ModuleNotFoundError as error:
    raise ImportError(f'{error.name} is not installed: pip install "dpr-export[optimum]"') from error

_ROWS = {0: "batch_size"}
_TOKENS = {0: "batch_size", 1: "sequence_length"}


class DPROnnxConfig(TextEncoderOnnxConfig):  # type: ignore[misc]
    """How optimum exports a DPR model of the kind that `architectures` in its configuration names.

    Args:
        config: a transformers.DPRConfig.
        task, preprocessors, int_dtype, float_dtype: as in all of optimum's configurations; leave them out.
    """

    NORMALIZED_CONFIG_CLASS = NormalizedTextConfig
    DEFAULT_ONNX_OPSET = DEFAULT_OPSET
    ATOL_FOR_VALIDATION = ATOL  # as in dpr-export, optimum adds 1e-5 of the reference

    @property
    def kind(self) -> Kind:
        """The kind.

        Raises:
            ValueError: the configuration names none, or more than one.
        """
        return find_kind(self._config.architectures)

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        """The graph's inputs, and the axes of each that may have any size."""
        return {name: dict(_TOKENS) for name in self.kind.inputs}

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        """The graph's outputs, and the axes of each that may have any size."""
        kind = self.kind
        return {name: dict(_TOKENS if name in kind.token_outputs else _ROWS) for name in kind.outputs}

    def generate_dummy_inputs(self, framework: str = "pt", **shapes: Any) -> dict[str, Any]:
        """Random inputs that the model can read: no longer than its positions, and with token types that it has."""
        wanted = shapes.get("sequence_length", DEFAULT_DUMMY_SHAPES["sequence_length"])
        shapes["sequence_length"] = min(wanted, self._config.max_position_embeddings)
        made: dict[str, Any] = super().generate_dummy_inputs(framework=framework, **shapes)
        if "token_type_ids" in made:
            made["token_type_ids"] = made["token_type_ids"] % self._config.type_vocab_size
        return made

    def patch_model_for_export(self, model: Any, model_kwargs: dict[str, Any] | None = None) -> Any:
        """What optimum calls with every model that it is about to trace or to compare with.

        Raises:
            ValueError: the model is of another class than its configuration names.
        """
        _refuse_other_class(model, self.kind)
        return super().patch_model_for_export(model, model_kwargs=model_kwargs)


def onnx_configs(model: transformers.PreTrainedModel) -> dict[str, DPROnnxConfig]:
    """The configurations that optimum's functions take as `custom_onnx_configs`.

    Args:
        model: a transformers.DPRQuestionEncoder, DPRContextEncoder or DPRReader.

    Returns:
        The one configuration, under the name of the graph's file: "model".

    Raises:
        ValueError: the model is no DPR model, or of another class than its checkpoint.

    Example:
        >>> from transformers import DPRConfig, DPRReader
        >>> model = DPRReader(DPRConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2))
        >>> list(onnx_configs(model)["model"].outputs)
        ['start_logits', 'end_logits', 'relevance_logits']
    """
    config = copy.deepcopy(model.config)
    config.architectures = config.architectures or [type(model).__name__]  # a model that was made in this process
    _refuse_other_class(model, find_kind(config.architectures))
    return {"model": DPROnnxConfig(config)}


def _refuse_other_class(model: Any, kind: Kind) -> None:
    if not isinstance(model, getattr(transformers, kind.architecture)):
        raise ValueError(
            f"the model is a {type(model).__name__}, and its configuration a {kind.architecture}'s, so its weights are "
            f"random: give onnx_export_from_model what transformers.{kind.architecture}.from_pretrained loads"
        )
