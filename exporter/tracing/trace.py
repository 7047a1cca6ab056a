"""Trace a PyTorch model into an ONNX graph of standard operators, with dynamic batch and sequence axes."""

import ast
import warnings
from collections import Counter
from pathlib import Path

import onnx_ir
import torch

from dpr_export.exporter.checkpoint.load import LoadedCheckpoint
from dpr_export.exporter.errors import ExportError, cause_of
from dpr_export.exporter.tracing.modules import graph_module
from dpr_export.models.kinds import EMBEDS, IDS
from dpr_export.models.optional_outputs import NO_OPTIONAL_OUTPUTS, OptionalOutputs
from dpr_export.models.quiet import quiet_logger
from dpr_export.quantization.save_graph import save_graph

AXES = ("batch_size", "sequence_length")
_SCOPES = "pkg.torch.onnx.name_scopes"
_EXAMPLE_SHAPE = (2, 7)


def trace(
    loaded: LoadedCheckpoint,
    path: Path,
    opset: int,
    optional_outputs: OptionalOutputs = NO_OPTIONAL_OUTPUTS,
    tokens: str = IDS,
) -> None:
    """Trace a model, and write its graph, whose first input is `tokens`, "input_ids" or "inputs_embeds".

    Raises:
        ExportError: PyTorch cannot trace the model.
    """
    inputs = [tokens, *loaded.kind.inputs[1:]]
    outputs = [*loaded.kind.outputs, *optional_outputs.names(loaded.config.num_hidden_layers)]
    length = min(_EXAMPLE_SHAPE[1], loaded.config.max_position_embeddings)
    # Each input is a tensor of its own: one that is passed three times would be traced as a single input.
    example = [torch.zeros((_EXAMPLE_SHAPE[0], length), dtype=torch.int64) for _ in inputs]
    if tokens == EMBEDS:
        example[0] = torch.zeros((*example[0].shape, loaded.config.hidden_size))
    batch = torch.export.Dim(AXES[0])
    sequence = torch.export.Dim(AXES[1], max=loaded.config.max_position_embeddings)
    try:
        with quiet_logger("torch"), warnings.catch_warnings(action="ignore"), torch.no_grad():
            program = torch.onnx.export(
                graph_module(loaded.model, optional_outputs),
                tuple(example),
                dynamo=True,
                opset_version=opset,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=({0: batch, 1: sequence},) * len(inputs),
                verbose=False,
            )
            assert program is not None  # only with dynamo=False
            _name_nodes(program.model)
            save_graph(program.model, path)
    except Exception as error:  # torch.export raises errors of many kinds
        raise ExportError(f"PyTorch cannot trace this model: {cause_of(error)}") from error


def _name_nodes(model: onnx_ir.Model) -> None:
    """Name each node after its module, and drop PyTorch's metadata, which holds paths of this machine.

    Names such as `encoder.layer.1.output.dense/MatMul` are for people, and for the passes that leave some nodes in
    float32. A node outside of any module, such as the product of queries and keys, gets the module of the node before.
    """
    counts: Counter[str] = Counter()
    module = "embeddings"
    for node in model.graph:
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        module = next((scope for scope in reversed(scopes[:-1]) if scope and scope[0] != "_"), module)
        name = f"{module}/{node.op_type}"
        counts[name] += 1
        node.name = name if counts[name] == 1 else f"{name}_{counts[name]}"
    values = (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values())
    outputs = (value for node in model.graph for value in node.outputs)
    for part in (model, model.graph, *model.graph, *values, *outputs):
        part.metadata_props.clear()
