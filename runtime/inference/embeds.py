"""Open the graph that takes embeddings in place of ids: `onnx/model_embeds.onnx`, in folders that have it.

It is opened by the first call with embeddings, on the engine that runs the ids if the graph was verified on it.
"""

from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.variants import EMBEDS_FILE
from dpr_export.runtime.engines.session import Session, open_session
from dpr_export.runtime.inference.selection import is_installed


def open_embeds_session(folder: ExportedFolder | None, ids_session: Session, threads: int) -> Session:
    """Open the graph that takes embeddings.

    Args:
        folder: the exported folder, or None for a model without one.
        ids_session: the session that runs the model's ids.
        threads: how many threads of the CPU one call may use.

    Raises:
        ValueError: the folder has no such graph, or the file is not the exported one; or the model runs on a GPU.
        OSError: the graph cannot be downloaded.
    """
    if ids_session.device != "cpu":
        raise ValueError(
            f'inputs_embeds run on the CPU only, and this model runs on {ids_session.device}: load it with device="cpu"'
        )
    held = folder.manifest.variants if folder else ()
    variants = [variant for variant in held if variant.file == EMBEDS_FILE and is_installed(variant.backend)]
    if folder is None or not variants:
        raise ValueError(
            "inputs_embeds are given, and this folder has no graph for them: export the checkpoint with --inputs-embeds"
        )
    variant = next((each for each in variants if ids_session.engine.startswith(each.backend)), variants[0])
    folder.ensure_files(*folder.manifest.files_of(EMBEDS_FILE))
    cache = folder.manifest.graph_sha256(EMBEDS_FILE)
    return open_session(variant.backend, folder.path / EMBEDS_FILE, threads=threads, cache=cache)
