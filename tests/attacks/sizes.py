"""A configuration of a model that fits on no machine, beside weights that are small."""

import shutil
from pathlib import Path

from tests.attacks.victim import edit_json, refusal

HUGE = 10**12
SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "max_position_embeddings", "intermediate_size")


def attack(_: Path, work: Path) -> list[str]:
    """Give each size in turn."""
    said = []
    for name in SIZES:
        folder = work / f"size-{name}"
        shutil.copytree(work / "checkpoint", folder)
        edit_json(folder / "config.json", **{name: HUGE})
        said.append(refusal("dpr-export", folder, "-o", work / "out"))
        assert not (work / "out").exists()
    return said
