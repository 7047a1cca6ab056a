"""The table of layouts: the file that shows which library wrote a checkpoint, and where that library puts the others.

`find_checkpoint.py` finds the files of the first row whose mark is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dpr_export.exporter.checkpoint.adapter import ADAPTER_CONFIG
from dpr_export.exporter.checkpoint.sentence_transformers import MODULES_FILE
from dpr_export.models.config import CONFIG_FILE

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "tf_model.h5")  # the first that exists is read


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A row of the table.

    Attributes:
        title: the name for people.
        published_by: who publishes such checkpoints.
        mark: the file that shows the layout.
        model_type: what that file says as model_type; None: anything.
        part: the key under which it holds the configuration of the encoder; None: it is that configuration.
        class_field: the field of the configuration that names the class of the model.
        weights: the names of the file of weights, in the order in which they are looked for.
        tokenizer: the folder of the tokenizer, with a slash at its end.
        kind: the kind of every such model; None: weights, configuration or user say it.
        folders: for two encoders, the folder of each by its kind. Each has a layout of its own.
    """

    title: str
    published_by: str
    mark: str
    model_type: str | None = None
    part: str | None = None
    class_field: str = "architectures"
    weights: tuple[str, ...] = WEIGHT_FILES
    tokenizer: str = ""
    kind: str | None = None
    folders: Mapping[str, str] | None = None


ADAPTER = Layout(
    title="LoRA adapter",
    published_by="pairs of encoders that were fine-tuned with PEFT",
    mark=ADAPTER_CONFIG,
    weights=("adapter_model.safetensors", "adapter_model.bin"),
)
SENTENCE_TRANSFORMERS = Layout(
    title="sentence-transformers", published_by="sentence-transformers/facebook-dpr-*", mark=MODULES_FILE
)
_HAYSTACK = "language_model_config.json"
LAYOUTS = (
    SENTENCE_TRANSFORMERS,
    ADAPTER,
    Layout(
        title="haystack",
        published_by="Intel, users of haystack 1",
        mark=_HAYSTACK,
        class_field="name",
        weights=("language_model.bin",),
    ),
    Layout(
        title="RAG",
        published_by="facebook/rag-token-nq, rag-sequence-nq, rag-token-base",
        mark=CONFIG_FILE,
        model_type="rag",
        part="question_encoder",
        tokenizer="question_encoder_tokenizer/",
        kind="question",
    ),
    Layout(title="transformers", published_by="facebook/dpr-*, castorini/mdpr-*, and most others", mark=CONFIG_FILE),
    Layout(
        title="haystack's two encoders",
        published_by="users of haystack 1",
        mark=f"query_encoder/{_HAYSTACK}",
        folders={"question": "query_encoder/", "context": "passage_encoder/"},
    ),
    Layout(
        title="Tevatron's two encoders",
        published_by="users of Tevatron",
        mark=f"query_model/{CONFIG_FILE}",
        folders={"question": "query_model/", "context": "passage_model/"},
    ),
)

FACEBOOK = "facebookresearch/DPR"  # the title of files, which have no configuration and no tokenizer
