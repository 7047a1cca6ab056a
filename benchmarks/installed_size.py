"""What each installation takes on disk: python -m benchmarks.installed_size

One new environment with `dpr-export[cpu]`, another with transformers and torch, both at the versions of
constraints.txt; pip itself is not counted.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.markup import escape
from rich.table import Table

ROOT = Path(__file__).parent.parent
INSTALLATIONS = {"dpr-export[cpu]": [f"{ROOT}[cpu]"], "transformers with torch": ["transformers", "torch"]}


def installed_bytes(packages: list[str]) -> int:
    """Install into a new environment, and count what came to its libraries."""
    with TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        before = size_of(Path(folder))
        command = [Path(folder, "bin", "python"), "-m", "pip", "install", "--quiet", "--no-compile", *packages]
        subprocess.run([*command, "--constraint", ROOT / "constraints.txt"], check=True)
        return size_of(Path(folder)) - before


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def main() -> None:
    sizes = {name: installed_bytes(packages) for name, packages in INSTALLATIONS.items()}
    table = Table("installation", "size", "ratio", box=None, pad_edge=False)
    for name, size in sizes.items():
        table.add_row(escape(name), f"{size / 1e6:,.0f} MB", f"{max(sizes.values()) / size:.1f}x")
    Console().print(table)


if __name__ == "__main__":
    main()
