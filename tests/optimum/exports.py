"""Runs where optimum is installed: exports checkpoints in every way that optimum's API has, and says what is refused.

    python exports.py CHECKPOINTS OUTPUT

CHECKPOINTS holds a folder for each of them, named in whatever way; OUTPUT gets a folder for each way, in it one for
each checkpoint, and `said.json`.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import transformers
from optimum.exporters.onnx import export, main_export, onnx_export_from_model
from optimum.exporters.tasks import TasksManager
from transformers import AutoConfig, DPRQuestionEncoder

from dpr_export.exporter.optimum import DPROnnxConfig, onnx_configs

TASK = "feature-extraction"
CHECKPOINTS, OUTPUT = map(Path, sys.argv[1:])


def from_model(model: transformers.PreTrainedModel, _: Path, output: Path) -> None:
    onnx_export_from_model(model, output, task=TASK, custom_onnx_configs=onnx_configs(model))


def alone(model: transformers.PreTrainedModel, _: Path, output: Path) -> None:
    export(model, onnx_configs(model)["model"], output / "model.onnx")


def by_name(model: transformers.PreTrainedModel, source: Path, output: Path) -> None:
    configs = onnx_configs(model)
    main_export(
        str(source), output, task=TASK, custom_onnx_configs=configs, fn_get_submodels=lambda _: {"model": model}
    )


def registered(model: transformers.PreTrainedModel, _: Path, output: Path) -> None:
    TasksManager.create_register("onnx")("dpr", TASK)(DPROnnxConfig)
    onnx_export_from_model(model, output, task=TASK)


def message(call: Callable[[], object]) -> str | None:
    """What a call is refused with; None where it is not."""
    try:
        call()
    except Exception as error:  # other errors than ours too, for the test to tell apart
        return f"{type(error).__name__}: {error}"
    return None


def main() -> None:
    said: dict[str, object] = {"atol": DPROnnxConfig.ATOL_FOR_VALIDATION, "opset": DPROnnxConfig.DEFAULT_ONNX_OPSET}
    sources = sorted(CHECKPOINTS.iterdir())
    for way in (from_model, alone, by_name, registered):
        for source in sources:
            (architecture,) = AutoConfig.from_pretrained(source).architectures
            model = getattr(transformers, architecture).from_pretrained(source)
            way(model, source, OUTPUT / way.__name__ / source.name)
    for source in sources:
        configs = {"model": DPROnnxConfig(AutoConfig.from_pretrained(source))}
        output = OUTPUT / "automodel" / source.name
        said[f"axes {source.name}"] = configs["model"].inputs | configs["model"].outputs
        said[f"main_export {source.name}"] = message(
            lambda source=source, output=output, configs=configs: main_export(
                str(source), output, task=TASK, custom_onnx_configs=configs
            )
        )
        said[f"onnx_configs {source.name}"] = message(
            lambda source=source: onnx_configs(DPRQuestionEncoder.from_pretrained(source))
        )
    bert = transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    said["onnx_configs BertModel"] = message(lambda: onnx_configs(transformers.BertModel(bert)))
    (OUTPUT / "said.json").write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    main()
