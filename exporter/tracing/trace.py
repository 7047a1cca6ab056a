"""Trace the original into `model.onnx`: standard operators only, batch and sequence dynamic."""

import ast
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx_ir
import torch

from dpr_export.exporter.checkpoint.load import Original
from dpr_export.exporter.errors import ExportError, cause_of
from dpr_export.exporter.tracing.modules import graph_of
from dpr_export.models.kinds import EMBEDS, IDS
from dpr_export.models.optional_outputs import NO_OPTIONAL_OUTPUTS, OptionalOutputs

AXES = ("batch_size", "sequence_length")
_SCOPES = "pkg.torch.onnx.name_scopes"
_EXAMPLE_SHAPE = (2, 7)


def trace(
    original: Original,
    path: Path,
    opset: int,
    optional_outputs: OptionalOutputs = NO_OPTIONAL_OUTPUTS,
    tokens: str = IDS,
) -> None:
    """Write the graph of a model.

    Args:
        original: the model to trace.
        path: the .onnx file to write.
        opset: the ONNX operator set.
        optional_outputs: the outputs that it gives besides its kind's.
        tokens: what stands for the tokens, "input_ids" or "inputs_embeds".

    Raises:
        ExportError: PyTorch cannot trace the model.
    """
    inputs = [tokens, *original.kind.inputs[1:]]
    outputs = [*original.kind.outputs, *optional_outputs.names(original.config.num_hidden_layers)]
    length = min(_EXAMPLE_SHAPE[1], original.config.max_position_embeddings)
    # Subtle: one tensor given three times would be traced as one input that is read three times.
    example = [torch.zeros((_EXAMPLE_SHAPE[0], length), dtype=torch.int64) for _ in inputs]
    if tokens == EMBEDS:
        example[0] = torch.zeros((*example[0].shape, original.config.hidden_size))
    batch = torch.export.Dim(AXES[0])
    sequence = torch.export.Dim(AXES[1], max=original.config.max_position_embeddings)
    try:
        with _quietly(), torch.no_grad():
            program = torch.onnx.export(
                graph_of(original.model, optional_outputs),
                tuple(example),
                dynamo=True,
                opset_version=opset,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=({0: batch, 1: sequence},) * len(inputs),
                verbose=False,
            )
            assert program is not None  # None is what the older exporter returns
            _name_nodes(program.model)
            program.save(str(path))
    except Exception as error:  # torch.export raises many kinds, none of which a user could handle apart
        raise ExportError(f"PyTorch cannot trace this model: {cause_of(error)}") from error


def _name_nodes(model: onnx_ir.Model) -> None:
    """Name each node by the module it comes from, and drop PyTorch's notes, which hold the paths of this machine.

    `encoder.layer.1.output.dense/MatMul` is for people, and for the passes that leave some in float32. An operator
    outside of any module, as a product of queries and keys, has the module before it.
    """
    taken: Counter[str] = Counter()
    module = "embeddings"
    for node in model.graph:
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        module = next((scope for scope in reversed(scopes[:-1]) if scope and scope[0] != "_"), module)
        name = f"{module}/{node.op_type}"
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"
        node.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    for node in model.graph:
        for value in node.outputs:
            value.metadata_props.clear()
    model.metadata_props.clear()
    model.graph.metadata_props.clear()


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's notes on packages it does without and names it keeps."""
    log = logging.getLogger("torch")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
