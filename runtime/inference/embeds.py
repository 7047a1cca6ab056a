"""The graph that takes embeddings in place of ids: `onnx/model_embeds.onnx`, where the folder has it.

It is opened when a call first gives embeddings, on the engine that runs the rest where it was proved on that.
"""

from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.variants import EMBEDS_FILE
from dpr_export.runtime.engines.session import Session, open_session
from dpr_export.runtime.inference.selection import is_installed


def open_for_embeds(folder: ExportedFolder | None, beside: Session, threads: int) -> Session:
    """Open the graph that takes embeddings.

    Args:
        folder: the exported folder, or None where there is none.
        beside: the session that runs the model's ids.
        threads: how many threads of the CPU one call may use.

    Raises:
        ValueError: the folder has no such graph, or it is not the one that was exported; or the model runs on a GPU.
        OSError: it cannot be downloaded.
    """
    if beside.device != "cpu":
        raise ValueError(
            f"inputs_embeds are taken on the CPU alone, and this model runs on {beside.device}: load it with "
            'device="cpu"'
        )
    held = folder.manifest.variants if folder else ()
    variants = [variant for variant in held if variant.file == EMBEDS_FILE and is_installed(variant.backend)]
    if folder is None or not variants:
        raise ValueError(
            "inputs_embeds are given, and this folder has no graph that takes them: export the checkpoint with "
            "--inputs-embeds"
        )
    variant = next((variant for variant in variants if beside.engine.startswith(variant.backend)), variants[0])
    folder.ensure_files(EMBEDS_FILE)
    graph, record = folder.path / EMBEDS_FILE, folder.manifest.files[EMBEDS_FILE]
    return open_session(variant.backend, graph, threads=threads, cache=record.sha256)
