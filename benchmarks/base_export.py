"""Export one base-size checkpoint of each kind: python -m benchmarks.base_export

Random weights, 12 layers of 768, as facebook's checkpoints have. Each export runs in a process of its own, by the
command a user would type, so that its peak memory is its own; the table says how long it took, and how far the graph is
from PyTorch.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from dpr_export.models.kinds import KINDS

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_base_checkpoint(folder: Path, kind: str) -> None:
    """A base-size checkpoint with random weights, as transformers writes it, and a small vocabulary."""
    import torch
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, KINDS[kind].architecture)(transformers.DPRConfig())
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")


def export(checkpoint: Path, output: Path) -> tuple[dict[str, Any], float, float]:
    """Run the command; return the manifest, the seconds it took, and its peak memory in bytes."""
    command = [Path(sys.executable).with_name("dpr-export"), checkpoint, "-o", output, "--json"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    manifest = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the export of {checkpoint.name} failed")
    per_unit = 1 if sys.platform == "darwin" else 1024
    return json.loads(manifest), time.perf_counter() - start, usage.ru_maxrss * per_unit


def main() -> None:
    table = Table(
        "kind", "seconds", "peak memory", "graph", "largest difference", "of what is allowed", box=None, pad_edge=False
    )
    for kind in KINDS:
        with TemporaryDirectory() as folder:
            write_in_its_own_process(Path(folder, kind), kind)
            manifest, seconds, peak = export(Path(folder, kind), Path(folder, "out"))
            (variant,) = manifest["variants"]
            table.add_row(
                kind,
                f"{seconds:.1f}",
                f"{peak / 1e9:.2f} GB",
                f"{manifest['files'][variant['file']]['bytes'] / 1e6:.0f} MB",
                f"{variant['proof']['largest_error']:.1e}",
                f"{variant['proof']['share_of_bound']:.1%}",
            )
    Console().print(table)


def write_in_its_own_process(folder: Path, kind: str) -> None:
    """Make the checkpoint elsewhere, so that this process stays small and starts others fast."""
    code = (
        "import sys, pathlib; from benchmarks.base_export import write_base_checkpoint as write; "
        "write(pathlib.Path(sys.argv[1]), sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, folder, kind], check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
