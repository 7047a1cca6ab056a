"""Read what sentence-transformers writes beside a transformer: pooling, a linear projection, normalization.

`modules.json` lists the modules in their order. What a DPR encoder cannot compute is refused by name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpr_export.exporter.checkpoint.files import Find, find_first, read_content, read_object
from dpr_export.exporter.errors import ExportError

MODULES_FILE = "modules.json"
_SETTINGS_FILE = "config_sentence_transformers.json"
_SETTINGS = {"__version__", "model_type", "prompts", "default_prompt_name", "similarity_fn_name"}  # that may be set
# Files of the transformer's own settings, by the model type that they were once named after.
_TRANSFORMER_FILES = tuple(
    f"sentence_{name}_config.json" for name in ("bert", "roberta", "distilbert", "camembert", "xlm-roberta")
)
# The settings of the transformer, with the values that change nothing; None: any. Others must be off.
_TRANSFORMER_SETTINGS: dict[str, Any] = {
    "max_seq_length": None,
    "do_lower_case": None,
    "unpad_inputs": None,
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
_VECTORS = (None, "sentence_embedding")  # what modules read and write
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
# The settings of Pooling that a graph computes, by their names since version 5.3 and before.
_POOLINGS = {"cls": "cls", "mean": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}
_ORDER = ("Transformer", "Pooling", "Dense", "Normalize")
_FOLDER = re.compile(r"\w[\w-]*")
_IDENTITY = "torch.nn.modules.linear.Identity"
_SIMILARITIES = {None: "inner_product", "dot": "inner_product", "cosine": "cosine"}


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer in a file of its own."""

    file: Path
    prefix: str  # of the names of its weight and bias
    has_bias: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Modules:
    """What a model computes around its transformer."""

    folder: str  # the transformer's, with a slash at its end, or empty
    pooling: str
    normalize: bool
    similarity: str  # "inner_product" or "cosine"
    longest: int | None  # the largest number of tokens of a row
    prompts: tuple[str, ...]  # what users put before texts, which no exported model does
    projections: tuple[Linear, ...]  # its Dense modules, in their order
    projection_dim: int  # the width of the last one; 0 if there is none


def read_modules(find: Find, name: str) -> Modules:
    """Read modules.json, and the files of the modules that it names; `name` is the checkpoint's.

    Raises:
        ExportError: a module, or its setting, is none that a graph of dpr-export computes; or a file is missing.
    """
    folders = _module_folders(find, name)
    settings = read_object(find, _SETTINGS_FILE, name) if find(_SETTINGS_FILE) else {}
    _refuse_set(settings, dict.fromkeys(_SETTINGS), _SETTINGS_FILE, name)
    prompts, default = settings.get("prompts") or {}, settings.get("default_prompt_name")
    if not isinstance(prompts, Mapping) or (default is not None and prompts.get(str(default)) != ""):
        raise ExportError(
            f"{name} puts a prompt before each text (default_prompt_name is {default!r} in {_SETTINGS_FILE}), which an "
            "exported model does not"
        )
    similarity = settings.get("similarity_fn_name")
    if not isinstance(similarity, str | None) or similarity not in _SIMILARITIES:
        raise ExportError(f"similarity_fn_name of {name} is {similarity!r}, and must be cosine or dot")
    normalize = "Normalize" in folders
    (folder,), (pooling,) = folders["Transformer"], folders["Pooling"]
    dense = [_read_dense(find, path, name) for path in folders.get("Dense", ())]
    return Modules(
        folder=folder,
        pooling=_pooling(read_object(find, f"{pooling}config.json", name), name),
        normalize=normalize,
        similarity="inner_product" if normalize else _SIMILARITIES[similarity],
        longest=_longest(find, folder, name),
        prompts=tuple(str(prompt) for prompt in prompts.values() if prompt),
        projections=tuple(layer for layer, _ in dense),
        projection_dim=dense[-1][1] if dense else 0,
    )


def _module_folders(find: Find, name: str) -> dict[str, list[str]]:
    """Return the folders of the modules by their type, each with a slash at its end."""
    path = find(MODULES_FILE)
    modules = read_content(path) if path else None
    if not isinstance(modules, list) or not all(isinstance(module, Mapping) for module in modules):
        raise ExportError(f"{MODULES_FILE} of {name} is no list of modules")
    folders: dict[str, list[str]] = {}
    order = []
    for module in modules:
        package, kind = str(module.get("type")).partition(".")[0], str(module.get("type")).rpartition(".")[2]
        folder = str(module.get("path", "")).rstrip("/")
        if package != "sentence_transformers":
            raise ExportError(f"{name} has a module of other code, {module.get('type')}, which is not run")
        if kind == "Dropout":  # which is for training
            continue
        if kind not in _ORDER:
            raise ExportError(f"{name} has a module {module.get('type')}: only {', '.join(_ORDER)} are read")
        if folder and not _FOLDER.fullmatch(folder):
            raise ExportError(f"{MODULES_FILE} of {name} names the folder {folder!r}, which is none of its own")
        folders.setdefault(kind, []).append(folder and f"{folder}/")
        if kind in ("Dense", "Normalize") and find(f"{folder}/config.json"):
            ways = read_object(find, f"{folder}/config.json", name)
            if any(ways.get(way) not in _VECTORS for way in ("module_input_name", "module_output_name")):
                raise ExportError(f"{name} has a module {kind} that reads or writes something else than the vector")
        order.append(_ORDER.index(kind))
    single = [len(folders.get(kind, ())) for kind in ("Transformer", "Pooling", "Normalize")]
    if order != sorted(order) or single[:2] != [1, 1] or single[2] > 1:
        found = ", ".join(_ORDER[number] for number in order)
        raise ExportError(f"{name} has the modules {found}: only {', '.join(_ORDER)} are read, in this order")
    return folders


def _pooling(settings: Mapping[str, Any], name: str) -> str:
    found = settings.get("pooling_mode")
    if found is None:
        found = [key for key, value in settings.items() if key.startswith("pooling_mode_") and value] or "mean"
    modes = found if isinstance(found, list) else [found]
    if len(modes) != 1 or not isinstance(modes[0], str) or modes[0] not in _POOLINGS:
        raise ExportError(f"{name} has the pooling {', '.join(map(str, modes))}: only cls and mean can be exported")
    return _POOLINGS[modes[0]]


def _longest(find: Find, folder: str, name: str) -> int | None:
    file = next((file for file in _TRANSFORMER_FILES if find(folder + file)), None)
    settings = read_object(find, folder + file, name) if file else {}
    _refuse_set(settings, _TRANSFORMER_SETTINGS, str(file), name)
    if settings.get("do_lower_case"):
        raise ExportError(f"{name} lower-cases each text before its tokenizer does (do_lower_case): clear that setting")
    longest = settings.get("max_seq_length")
    if longest is not None and (type(longest) is not int or longest < 1):
        raise ExportError(f"max_seq_length of {name} is {longest!r}, and must be a whole number from 1")
    return longest


def _refuse_set(settings: Mapping[str, Any], accepted: Mapping[str, Any], file: str, name: str) -> None:
    """Refuse settings that are not known to change nothing."""
    for key, value in settings.items():
        if value and (key not in accepted or accepted[key] not in (None, value)):
            raise ExportError(f"{name} has {key} set in {file}, which an exported model does not do")


def _read_dense(find: Find, folder: str, name: str) -> tuple[Linear, int]:
    """Return a Dense module, and its width."""
    settings = read_object(find, f"{folder}config.json", name)
    activation, width = settings.get("activation_function", "Tanh"), settings.get("out_features")
    if activation != _IDENTITY or settings.get("use_residual"):
        what = "use_residual" if activation == _IDENTITY else f"the activation {activation}"
        raise ExportError(f"{name} has a Dense module with {what}: only Identity, a linear projection, is read")
    if type(width) is not int or width < 1:
        raise ExportError(f"out_features of the Dense module of {name} is {width!r}, and must be a whole number from 1")
    weights = find_first(find, (folder + file for file in _WEIGHT_FILES))
    if weights is None:
        raise ExportError(f"{name} has no weights of its Dense module: {folder}{_WEIGHT_FILES[0]}")
    return Linear(weights, "linear.", settings.get("bias", True) is not False), width
