"""A manifest that names files outside of its folder, to have them read, copied or overwritten; and a file that never
ends in place of one."""

import json
import os
import shutil
from pathlib import Path

from dpr_export.runtime import DPRReader
from tests.attacks.victim import edit_json, refusal

OUTSIDE = ("../secret", "/etc/passwd", "onnx/../../secret", "..\\secret", "./../secret", "..")


def attack(exported: Path, work: Path) -> list[str]:
    """Try every path, by hash and by size; then a pipe that a reader of hashes would wait on for ever."""
    (work / "secret").write_text("secret", encoding="utf-8")
    said = []
    for number, path in enumerate(OUTSIDE):
        folder = work / f"folder-{number}"
        shutil.copytree(exported, folder)
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        manifest["files"][path] = {"bytes": 6, "sha256": "0" * 64}
        manifest["variants"][0]["file"] = path
        edit_json(folder / "manifest.json", **manifest)
        said.append(refusal("dpr-runtime", "verify", folder))
        assert "not a path within the folder" in said[-1]
        try:
            DPRReader.from_pretrained(folder).save_pretrained(work / "copy")
        except ValueError as error:
            said.append(str(error))
        assert not (work / "copy").exists()
    assert (work / "secret").read_text(encoding="utf-8") == "secret"
    return [*said, never_ending(exported, work / "pipe")]


def never_ending(exported: Path, folder: Path) -> str:
    """A pipe has no bytes, as the manifest then says, and is never read to its end."""
    shutil.copytree(exported, folder)
    (folder / "reference_outputs.npz").unlink()
    os.mkfifo(folder / "reference_outputs.npz")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["reference_outputs.npz"]["bytes"] = 0
    edit_json(folder / "manifest.json", files=manifest["files"])
    line = refusal("dpr-runtime", "inspect", folder)
    assert "reference_outputs.npz is no regular file" in line
    return line
