"""Export a DPR checkpoint into a folder of ONNX graphs: load, trace, check parity, make variants, write.

PyTorch and transformers, which take seconds to import, are imported once the checkpoint is on this machine.
"""

import platform
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dpr_export.exporter.checkpoint.find_checkpoint import Checkpoint
from dpr_export.exporter.checkpoint.source import resolve_checkpoint
from dpr_export.exporter.checkpoint.tokenizer import gives_token_types, read_tokenizer
from dpr_export.exporter.errors import ExportError
from dpr_export.exporter.options import DEFAULT_OPSET, DEFAULT_OPTIONS, ExportOptions
from dpr_export.models.artifact.atomic_writing import atomic_folder
from dpr_export.models.artifact.folder import hash_file, hash_folder
from dpr_export.models.artifact.graph_files import combine_hashes
from dpr_export.models.artifact.manifest import (
    MANIFEST_FILE,
    REFERENCE_OUTPUTS_FILE,
    SAMPLE_FILE,
    Manifest,
    Source,
    Variant,
    is_exported_folder,
)
from dpr_export.models.artifact.reference_outputs import Example, write_reference_outputs
from dpr_export.models.artifact.variants import EMBEDS_FILE, MODEL_FILE, VariantSpec
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import CONTEXT, EMBEDS, IDS
from dpr_export.models.optional_outputs import OptionalOutputs
from dpr_export.models.progress import Step, silent

if TYPE_CHECKING:
    from dpr_export.exporter.checkpoint.load import LoadedCheckpoint
    from dpr_export.quantization.texts import Texts

EMBEDS_BACKENDS = ("onnxruntime", "openvino")  # those that run model_embeds.onnx: on the CPU
SHORTEST_ROW = 6  # the reader's: [CLS] question [SEP] title [SEP] text, of one token each
_TRACERS = ("torch", "transformers", "tokenizers")


def default_output(source: str, kind: str | None = None) -> Path:
    """The folder that an export writes if none is named.

    A checkpoint of which the kind is given may be exported as another too, so the folder's name has the kind.

    >>> default_output("facebook/dpr-reader-single-nq-base").as_posix()
    'dpr-reader-single-nq-base-onnx'
    >>> default_output("trained/dpr_biencoder.cp", "question").as_posix()
    'dpr_biencoder-question-onnx'
    """
    name = Path(source).resolve().name if Path(source).is_dir() else Path(source).name.removesuffix(".cp")
    return Path(f"{name}-{kind}-onnx" if kind else f"{name}-onnx")


def export(
    source: str, output: str | Path | None = None, options: ExportOptions = DEFAULT_OPTIONS, step: Step = silent
) -> Manifest:
    """Export a DPR checkpoint into ONNX graphs that pass the parity check against PyTorch, and into faster variants.

    Nothing is written at `output` unless every graph passes. If `source` is an exported folder, variants are added to
    it, and no checkpoint is needed.

    Args:
        source: a checkpoint's folder, or its name on the hub; `demo/question`, `demo/context` or `demo/reader`; a file
            that facebookresearch/DPR wrote (`dpr_biencoder.39`, `hf_bert_base.cp`); or an exported folder.
        output: the folder to write; None: `./NAME-onnx`, or `./NAME-KIND-onnx` if `options.kind` is given.
        options: see `ExportOptions`.
        step: called with the name of each step; returns a context manager that the step runs in.

    Returns:
        The manifest of the folder.

    Raises:
        ExportError: the checkpoint is missing or cannot be exported, a graph fails the parity check, or a variant's
            metrics are below their bounds.
        FileExistsError: `output` exists, and `force` is not set or it is not an exported folder.
        ValueError: options that do not apply to this source, or a damaged calibration file.

    Example:
        >>> from dpr_export.exporter import ExportOptions, export
        >>> manifest = export("demo/reader", "reader-onnx", ExportOptions(precisions=["int8"]))    # doctest: +SKIP
        >>> manifest.kind                                                                          # doctest: +SKIP
        'reader'
    """
    try:
        from dpr_export.quantization.add import add_variants

        if not is_exported_folder(Path(source)):
            return _export_checkpoint(source, output, options, step)
        if names := [*(["output"] if output is not None else []), *options.for_checkpoints()]:
            raise ValueError(f"{names[0]} does not apply to {source}: variants are added to an exported folder")
        return add_variants(source, options, step)
    except ModuleNotFoundError as error:
        raise ExportError(f'{error.name} is not installed: pip install "dpr-export[export]"') from None
    except ExportError:
        raise
    except RuntimeError as error:
        raise ExportError(str(error)) from error


def _export_checkpoint(source: str, output: str | Path | None, options: ExportOptions, step: Step) -> Manifest:
    from dpr_export.quantization.add import MAKERS, installed_versions, read_calibration_set, select_readable

    texts = read_calibration_set(options.calibration)
    folder = Path(output) if output is not None else default_output(source, options.kind)
    with (
        atomic_folder(folder, options.force, is_exported_folder) as unfinished,
        resolve_checkpoint(source, options, step) as checkpoint,
    ):
        with step(f"load {checkpoint.name}"):
            from dpr_export.exporter.checkpoint.load import load

            loaded = load(checkpoint)
        with step(f"write the tokenizer of a {loaded.kind.title} ({loaded.layout})"):
            _write_tokenizer(loaded, checkpoint, unfinished)
            disabled = [
                name for name in ("output_hidden_states", "output_attentions") if getattr(options, name) is False
            ]
            config = loaded.config.to_dict() | dict.fromkeys(disabled, False)
            DPRConfig.from_dict(config).save_pretrained(unfinished)
        variants, absent = _make_graphs(loaded, unfinished, options, select_readable(texts, loaded.kind), step)
        with step(f"write {folder}"):
            manifest = Manifest(
                kind=loaded.kind.name,
                source=Source(checkpoint.name, checkpoint.revision, _hash_weights(checkpoint)),
                versions={"python": platform.python_version(), **installed_versions((*MAKERS, *_TRACERS))},
                opset=options.opset or DEFAULT_OPSET,
                variants=variants,
                files=hash_folder(unfinished),
                absent_weights=absent,
                similarity=loaded.similarity,
            )
            (unfinished / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _hash_weights(checkpoint: Checkpoint) -> str:
    """Return the SHA-256 of the file of weights, or one of those of several."""
    return combine_hashes([hash_file(path).sha256 for path in checkpoint.files])


def _write_tokenizer(loaded: "LoadedCheckpoint", checkpoint: Checkpoint, folder: Path) -> None:
    if checkpoint.tokenizer is None:
        raise ExportError(f"{checkpoint.name} has no tokenizer: give the folder of one (--tokenizer DIR)")
    tokenizer = read_tokenizer(loaded.kind, checkpoint.tokenizer)
    if len(tokenizer) > loaded.config.vocab_size:
        raise ExportError(
            f"the tokenizer of {checkpoint.name} has {len(tokenizer)} entries, but the model has embeddings for only "
            f"{loaded.config.vocab_size} (vocab_size)"
        )
    positions = loaded.config.max_position_embeddings
    if checkpoint.longest is not None:
        tokenizer.model_max_length = min(checkpoint.longest, positions)
    if loaded.padding_moves_positions:
        tokenizer.padding_side = "right"
        if (padding := loaded.config.pad_token_id) != tokenizer.pad_token_id:
            raise ExportError(
                f"pad_token_id in config.json of {checkpoint.name} is {padding}, after which positions start, but its "
                f"tokenizer pads with {tokenizer.pad_token_id}"
            )
    if loaded.kind is CONTEXT:
        (table,) = (weight for name, weight in loaded.model.named_parameters() if "token_type_embeddings" in name)
        types = max(tokenizer.create_token_type_ids_from_sequences([0], [0]))
        if types >= len(table) and loaded.padding_moves_positions:
            raise ExportError(
                f"the tokenizer of {checkpoint.name} gives a text after its title the token type {types}, but the "
                f"model has only {len(table)} (type_vocab_size)"
            )
        if types and bool((table != table[0]).any()) and not gives_token_types(checkpoint.tokenizer):
            raise ExportError(
                f"the tokenizer of {checkpoint.name} gives no token types (tokenizer_class or model_input_names in "
                "tokenizer_config.json), but the model has several"
            )
    if (longest := min(positions, tokenizer.model_max_length)) < SHORTEST_ROW:
        raise ExportError(
            f"a row of {checkpoint.name} may have {longest} tokens (max_position_embeddings is {positions}, "
            f"model_max_length {tokenizer.model_max_length}), and must have room for {SHORTEST_ROW}"
        )
    tokenizer.save_pretrained(folder)


def _make_graphs(
    loaded: "LoadedCheckpoint", folder: Path, options: ExportOptions, texts: "Texts", step: Step
) -> tuple[tuple[Variant, ...], dict[str, dict[str, str]]]:
    """Write `model.onnx`, its variants, and `model_embeds.onnx` if asked for; and the reference outputs.

    Returns:
        The variants, and for each graph that was traced the weights that it lacks without effect, with the reasons.
    """
    from dpr_export.quantization.variants import VariantMaker

    outputs = _optional_outputs(loaded.config, options)
    specs = [spec for spec in options.specs if not (outputs and spec.recipe)]
    graphs = [(MODEL_FILE, IDS, specs)]
    if options.inputs_embeds:
        backends = [backend for backend in EMBEDS_BACKENDS if backend in {spec.backend for spec in specs}]
        graphs.append((EMBEDS_FILE, EMBEDS, [VariantSpec(backend, "fp32", EMBEDS_FILE) for backend in backends]))
    (folder / "onnx").mkdir()
    variants: list[Variant] = []
    kept: list[Example] = []
    absent: dict[str, dict[str, str]] = {}
    sample = _write_sample(loaded, folder, step)
    for file, tokens, wanted in graphs:
        lacking, grid, examples = _trace(loaded, folder / file, options.opset or DEFAULT_OPSET, outputs, tokens, step)
        absent |= {file: lacking} if lacking else {}
        maker = VariantMaker(loaded.kind, folder, grid, sample, texts, options.atol, options.allow_loss, step)
        variants += maker.make_all(wanted, folder)
        kept += examples
    write_reference_outputs(folder / REFERENCE_OUTPUTS_FILE, kept)
    return tuple(replace(variant, optional_outputs=outputs.fields) for variant in variants), absent


def _write_sample(loaded: "LoadedCheckpoint", folder: Path, step: Step) -> list[Example]:
    """Write a few texts of the evaluation set with PyTorch's outputs, by which other machines check the variants."""
    from dpr_export.exporter.tracing.reference_outputs import run_calls
    from dpr_export.quantization.gate import tokenize_sample
    from dpr_export.quantization.texts import EVALUATION_SET_FILE, read_texts

    with step("compute the outputs of a sample of texts with PyTorch"):
        calls = tokenize_sample(loaded.kind, folder, read_texts(EVALUATION_SET_FILE).rows)
        sample = list(run_calls(loaded, calls))
    write_reference_outputs(folder / SAMPLE_FILE, sample)
    return sample


def _optional_outputs(config: DPRConfig, options: ExportOptions) -> OptionalOutputs:
    """The optional outputs of the graphs; a ValueError if a lossy variant is asked for too."""
    hidden_states, attentions = options.output_hidden_states, options.output_attentions
    outputs = OptionalOutputs(
        config.output_hidden_states if hidden_states is None else hidden_states,
        config.output_attentions if attentions is None else attentions,
    )
    lossy = [spec.precision for spec in options.specs if spec.lossy]
    if outputs and lossy:
        raise ValueError(
            f"precision {lossy[0]} cannot be combined with {' and '.join(outputs.fields)}: their loss is not measured, "
            "so such graphs are made in fp32 only"
        )
    return outputs


def _trace(
    loaded: "LoadedCheckpoint", graph: Path, opset: int, outputs: OptionalOutputs, tokens: str, step: Step
) -> tuple[dict[str, str], list[Example], list[Example]]:
    """Trace one graph, and check its weights.

    Returns:
        What `check_weights` does; and calls with PyTorch's outputs: to check the graph with, and small ones for the
        folder to keep.
    """
    from dpr_export.exporter.tracing.reference_outputs import REFERENCE_SHAPES, run_pytorch
    from dpr_export.exporter.tracing.trace import trace
    from dpr_export.exporter.tracing.weights import check_weights

    with step(f"trace onnx/{graph.name} with torch.onnx"):
        trace(loaded, graph, opset, outputs, tokens)
        absent = check_weights(loaded.model, graph, tokens)
    with step("compute reference outputs with PyTorch"):
        grid = list(run_pytorch(loaded, optional_outputs=outputs, tokens=tokens))
        return absent, grid, list(run_pytorch(loaded, REFERENCE_SHAPES, outputs, tokens))
