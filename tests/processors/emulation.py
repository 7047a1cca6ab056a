"""Python under an emulated processor, by QEMU's user mode (Debian's package qemu-user-static).

An x86 processor runs this environment's own Python. For an Arm processor, Debian's Python and the wheels of the
pinned versions are downloaded into a folder, without a container and without root.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAYERS = ("models", "runtime", "quantization", "exporter")
DEBIAN = ("python3.11", "libstdc++6", "libgomp1", "libtbb12")
WHEELS = ("onnxruntime", "openvino", "numpy", "tokenizers", "huggingface-hub", "typer")
TAGS = ("manylinux_2_28_aarch64", "manylinux_2_35_aarch64", "manylinux2014_aarch64")
CORES = 2
ARM = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
ARM_82 = f"{ARM} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"


@dataclass(frozen=True)
class Processor:
    """A processor that QEMU emulates."""

    name: str  # QEMU's
    words: str
    features: str = ""  # of an Arm processor, as /proc/cpuinfo names them
    part: str = ""  # and its number there

    @property
    def emulator(self) -> str:
        return "qemu-aarch64-static" if self.features else "qemu-x86_64-static"


PROCESSORS = (
    Processor("Haswell", "x86 with AVX2"),
    Processor("Skylake-Server", "x86 with AVX2, as far as QEMU emulates it"),
    Processor("cortex-a76", "Arm with dot products", ARM_82, "0xd0b"),
    Processor("cortex-a72", "Arm without dot products", ARM, "0xd08"),
)


class CannotEmulateError(RuntimeError):
    """The reason why no processor can be emulated here."""


def run_python(processor: Processor, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python under a processor; `folder` keeps what is downloaded.

    Raises:
        CannotEmulateError: QEMU is not installed, or something cannot be downloaded.
    """
    if not shutil.which(processor.emulator):
        raise CannotEmulateError(f"{processor.emulator} is not installed: apt-get install qemu-user-static")
    # The host's features are hidden from this: engines ask the emulated processor itself.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    command = [processor.emulator, "-cpu", processor.name]
    if processor.features:
        root = make_arm_root(folder)
        describe_machine(root, processor)
        libraries = ":".join(f"{root}/{place}/aarch64-linux-gnu" for place in ("usr/lib", "lib"))
        variables = {
            "LD_LIBRARY_PATH": libraries,
            "PYTHONHOME": f"{root}/usr",
            "PYTHONPATH": f"{package_folder(folder)}:{folder / 'site'}:{ROOT}",
        }
        command += ["-L", str(root), *(part for name, value in variables.items() for part in ("-E", f"{name}={value}"))]
        interpreter = f"{root}/usr/bin/python3.11"
    else:
        interpreter = sys.executable
    command.append(interpreter)
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)


def make_arm_root(folder: Path) -> Path:
    """Download Debian's Python for Arm and the wheels, once."""
    root, done = folder / "root", folder / "done"
    if done.exists():
        return root
    apt, archives = folder / "apt", folder / "apt" / "cache" / "archives"
    for place in (apt / "lists" / "partial", archives / "partial", root):
        place.mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "Dir::State": apt,
        "Dir::State::status": apt / "status",
        "Dir::State::lists": apt / "lists",
        "Dir::Cache": apt / "cache",
    }
    get = ["apt-get", *(f"-o{name}={value}" for name, value in options.items())]
    _run(*get, "update")
    _run(*get, "-y", "--no-install-recommends", "--download-only", "install", *DEBIAN)
    for package in sorted(archives.glob("*.deb")):
        _run("dpkg", "-x", str(package), str(root))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--target"]
    tags = [f"--platform={tag}" for tag in TAGS]
    pinned = ["--only-binary=:all:", "--python-version=3.11", f"--constraint={ROOT / 'constraints.txt'}"]
    _run(*pip, str(folder / "site"), *tags, *pinned, *WHEELS)
    done.touch()
    return root


def package_folder(folder: Path) -> Path:
    """A folder in which `dpr_export` is a package, for a Python in which it is not installed."""
    package = folder / "package" / "dpr_export"
    package.mkdir(parents=True, exist_ok=True)
    for layer in LAYERS:
        if not (package / layer).is_symlink():
            (package / layer).symlink_to(ROOT / layer)
    return package.parent


def describe_machine(root: Path, processor: Processor) -> None:
    """Write the files by which libraries count an Arm machine's processors and learn their features."""
    lines = [
        f"processor\t: {number}\nBogoMIPS\t: 50.00\nFeatures\t: {processor.features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: {processor.part}\nCPU revision\t: 1\n"
        for number in range(CORES)
    ]
    files = {"proc/cpuinfo": "\n".join(lines)}
    cores = f"0-{CORES - 1}\n"
    files |= {f"sys/devices/system/cpu/{name}": cores for name in ("possible", "present", "online")}
    for number in range(CORES):
        topology = f"sys/devices/system/cpu/cpu{number}/topology"
        files |= {f"{topology}/{name}": text for name, text in _topology(number, cores).items()}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def _topology(number: int, cores: str) -> dict[str, str]:
    own = f"{number}\n"
    return {"physical_package_id": "0\n", "core_id": own, "core_siblings_list": cores, "thread_siblings_list": own}


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = re.findall(r"\S.*", getattr(error, "stderr", "") or str(error))
        raise CannotEmulateError(f"{' '.join(command[:2])} failed: {said[-1]}") from None
