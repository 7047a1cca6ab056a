"""How far each graph is from PyTorch, and what its export costs: python -m benchmarks.parity

Every kind of model, as tiny random checkpoints (each activation, with and without a projection), as the demo's trained
checkpoints, and at base size with random weights (12 layers of 768, as facebook's are). Each is exported by the command
a user would type, in a process of its own, so that its peak memory is its own.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from dpr_export.models.kinds import KINDS, READER

ACTIVATIONS = ("gelu", "relu", "silu", "gelu_new")
TINY = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "initializer_range": 0.2,
}
WRITE = """
import json, sys, torch, transformers
from pathlib import Path
torch.manual_seed(0)
folder, architecture, config = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
model = getattr(transformers, architecture)(transformers.DPRConfig(**config))
for name, parameter in model.named_parameters():
    if parameter.ndim == 1:
        torch.nn.init.normal_(parameter, mean=float(name.endswith("LayerNorm.weight")), std=0.2)
model.save_pretrained(folder)
(folder / "vocab.txt").write_text("\\n".join(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")))
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A checkpoint to export: the demo's of this kind, or one with random weights and this configuration."""

    name: str
    kind: str
    config: dict[str, Any] | None = field(default=None)


def cases() -> Iterator[Case]:
    for kind in KINDS:
        for projection in (0,) if kind == READER.name else (0, 24):
            for activation in ACTIVATIONS:
                config = {**TINY, "hidden_act": activation, "projection_dim": projection}
                yield Case(f"tiny, {activation}" + (f", projection {projection}" if projection else ""), kind, config)
    for kind in KINDS:
        yield Case("demo", kind)
    for kind in KINDS:
        yield Case("base, 12 x 768", kind, {})


def export(case: Case, folder: Path) -> tuple[dict[str, Any], float, float]:
    """Run the command; return the manifest, the seconds it took, and its peak memory in bytes."""
    source = f"demo/{case.kind}"
    if case.config is not None:
        source = str(folder / "checkpoint")
        arguments = [source, KINDS[case.kind].architecture, json.dumps(case.config)]
        subprocess.run([sys.executable, "-c", WRITE, *arguments], check=True, stderr=subprocess.DEVNULL)
    command = [Path(sys.executable).with_name("dpr-export"), source, "-o", folder / "out", "--json"]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        manifest = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the export of {source} failed")
    per_unit = 1 if sys.platform == "darwin" else 1024
    return json.loads(manifest), time.perf_counter() - start, usage.ru_maxrss * per_unit


def main() -> None:
    table = Table(
        *("checkpoint", "kind", "largest difference", "of what is allowed", "graph", "seconds", "peak memory"),
        box=None,
        pad_edge=False,
    )
    for case in cases():
        with TemporaryDirectory() as folder:
            manifest, seconds, peak = export(case, Path(folder))
        for variant in manifest["variants"]:
            table.add_row(
                case.name,
                case.kind,
                f"{variant['proof']['largest_error']:.1e}",
                f"{variant['proof']['share_of_tolerance']:.1%}",
                f"{manifest['files'][variant['file']]['bytes'] / 1e6:.1f} MB",
                f"{seconds:.1f}",
                f"{peak / 1e9:.2f} GB",
            )
    console = Console()
    console.print(table, soft_wrap=not console.is_terminal)


if __name__ == "__main__":
    main()
