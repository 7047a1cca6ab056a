"""Copy one variant of an exported folder into a new exported folder, for a device that runs only that.

The new folder lacks `model.onnx`, from which further variants are made, and the graph that takes embeddings.
"""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

from dpr_export.models.artifact.atomic_writing import atomic_folder
from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import MANIFEST_FILE, REQUIRED_FILES, Manifest, Variant, is_exported_folder
from dpr_export.models.artifact.resolve import open_exported_folder
from dpr_export.models.artifact.variants import VARIANTS
from dpr_export.runtime.engines.processors import usable_processors
from dpr_export.runtime.inference.loading import open_checked
from dpr_export.runtime.inference.selection import choose


def pack(folder: str | Path, output: str | Path, variant: str = "auto", force: bool = False) -> Manifest:
    """Write a folder that holds one variant.

    Args:
        folder: the exported folder, or its name on the hub.
        output: the folder to write.
        variant: "BACKEND-PRECISION", as "onnxruntime-int8"; "auto": the one that `from_pretrained` chooses on this CPU.
        force: replace an existing exported folder.

    Returns:
        The manifest of the new folder.

    Raises:
        OSError: there is no exported folder, `output` exists, or it cannot be written.
        ValueError: the folder has no such variant, or one of the files to copy is damaged.
    """
    opened = open_exported_folder(folder)
    chosen = _choose_here(opened) if variant == "auto" else _find_variant(opened, variant)
    names = (*REQUIRED_FILES, *opened.manifest.files_of(chosen.file))
    opened.ensure_files(*names)
    files = {name: record for name, record in opened.manifest.files.items() if name in names}
    manifest = replace(opened.manifest, variants=(chosen,), files=files)
    replace(opened, manifest=manifest).check(verify=True)
    with atomic_folder(Path(output), force, is_exported_folder) as making:
        for name in names:
            (making / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(opened.path / name, making / name)
        (making / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _choose_here(folder: ExportedFolder) -> Variant:
    """Choose the variant that `from_pretrained` does on this CPU, after the check of a first load."""
    select = partial(choose, folder, device="cpu")
    first = select()
    folder.ensure_files(*folder.manifest.files_of(first.variant.file))
    folder.check_graph(first.variant.file)
    session, choice = open_checked(folder, first, select, threads=usable_processors())
    session.close()
    return choice.variant


def _find_variant(folder: ExportedFolder, name: str) -> Variant:
    """Find the variant of a name; of two, the one that its backend prefers."""
    places = {(spec.backend, spec.file): place for place, spec in enumerate(VARIANTS)}
    held = [v for v in folder.manifest.variants if (v.backend, v.file) in places]
    found = [variant for variant in held if f"{variant.backend}-{variant.precision}" == name]
    if not found:
        there = ", ".join(dict.fromkeys(f"{variant.backend}-{variant.precision}" for variant in held))
        raise ValueError(f"variant is {name!r}, and {folder.name} holds: {there}")
    return min(found, key=lambda variant: places[variant.backend, variant.file])
