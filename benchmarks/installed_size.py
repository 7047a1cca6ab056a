"""Measure what each installation takes on disk: python -m benchmarks.installed_size

One new environment has `dpr-export[cpu]`, another has transformers and torch, both at the versions of constraints.txt.
pip itself is not counted.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness.workers import ROOT

INSTALLATIONS = {"dpr-export[cpu]": [f"{ROOT}[cpu]"], "transformers with torch": ["transformers", "torch"]}


def install(packages: list[str]) -> int:
    """Install packages into a new environment; return the bytes that they and their dependencies take."""
    with TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        before = count_bytes(Path(folder))
        command = [Path(folder, "bin", "python"), "-m", "pip", "install", "--quiet", "--no-compile", *packages]
        subprocess.run([*command, "--constraint", ROOT / "constraints.txt"], check=True)
        return count_bytes(Path(folder)) - before


def count_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def main() -> None:
    print("a few minutes, most of them to download PyTorch", file=sys.stderr)
    sizes = {}
    for name, packages in INSTALLATIONS.items():
        sizes[name] = install(packages)
        print(f"{name}: {sizes[name] / 1e6:,.0f} MB, {sizes[name] / next(iter(sizes.values())):.1f}x", flush=True)


if __name__ == "__main__":
    main()
