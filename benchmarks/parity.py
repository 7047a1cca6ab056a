"""Measure how far each graph is from PyTorch, and what its export costs: python -m benchmarks.parity

Every kind of model: as tiny random checkpoints (each activation, with and without a projection), as the demo's trained
checkpoints, and as BERT-base with random weights (12 layers, 768 wide, as facebook's). Each is exported by the command
that a user types, in a process of its own.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.harness.command import make_parser, start
from benchmarks.harness.model_files import TINY, Size, WorkFolder, make
from benchmarks.harness.processes import DPR_EXPORT, run_measured
from dpr_export.models.kinds import KINDS, READER

SMALL = {**(TINY.config or {}), "hidden_size": 32, "intermediate_size": 64, "initializer_range": 0.2}


class Case(NamedTuple):
    """A checkpoint to export: one with random weights and this configuration, or (None) the demo's."""

    name: str
    kind: str
    config: dict[str, Any] | None


def list_cases(quick: bool) -> Iterator[Case]:
    """Every case, or the first of each kind."""
    for kind in KINDS:
        for projection in (0,) if quick or kind == READER.name else (0, 24):
            for activation in ("gelu",) if quick else ("gelu", "relu", "silu", "gelu_new"):
                config = {**SMALL, "hidden_act": activation, "projection_dim": projection}
                yield Case(f"tiny, {activation}" + (f", projection {projection}" if projection else ""), kind, config)
    if not quick:
        yield from (Case("demo", kind, None) for kind in KINDS)
        yield from (Case("base, 12 x 768", kind, {}) for kind in KINDS)


def export(case: Case, folder: Path) -> list[str]:
    """Export a case; describe each variant in a line."""
    source: str | Path = f"demo/{case.kind}"
    if case.config is not None:
        source = make(WorkFolder(folder, Size("random", case.config)), case.kind, "checkpoint", lambda _: None)
    measured = run_measured([DPR_EXPORT, source, "-o", folder / "out", "--json"])
    manifest = json.loads(measured.output)
    took = f"{measured.seconds:.1f} s, {measured.peak_bytes / 1e9:.2f} GB"
    lines = []
    for variant in manifest["variants"]:
        parity = variant["parity"]
        share = f"largest difference {parity['largest_error']:.1e}, {parity['share_of_tolerance']:.1%} of the tolerance"
        lines.append(f"{case.name}, {case.kind}, {variant['file']} on {variant['backend']}: {share}; {took}")
    return lines


def main() -> None:
    parser = make_parser("parity", __doc__, "the smallest checkpoint of each kind", saves=False)
    run = start(parser, parser.parse_args(), "about ten minutes")
    for case in list_cases(run.quick):
        with TemporaryDirectory() as folder:
            lines = export(case, Path(folder))
        run.keep(lines, "cases", f"{case.name}, {case.kind}", line="\n".join(lines))


if __name__ == "__main__":
    main()
