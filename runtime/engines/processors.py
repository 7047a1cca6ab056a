"""How many processors this process may really use, and which instructions they have.

A container often sees every processor of its host and may use two, and more threads than processors wait for each
other. So three limits are read: the machine's count, the process's affinity, and its control groups' CPU quota.
"""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

# By /proc/cpuinfo's names: x86's VNNI in its three forms, and ARM's dot product and matrix product.
_INT8_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}

SLOW_INT8 = (
    "this processor has no instructions for INT8 products (VNNI, or ARM's dot product): INT8 may be slower than fp32"
)


def usable_processors(root: Path = Path("/")) -> int:
    """The least of: the machine's processors, the affinity mask, the control groups' quota (rounded up).

    Args:
        root: where /proc and /sys are found.
    """
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity to ask for
        allowed = os.cpu_count() or 1
    quota = min(_quotas(root), default=float(allowed))
    return max(1, min(allowed, int(-(-quota // 1))))


def processor_kind(root: Path = Path("/")) -> str:
    """The kind of processor, as the table of variants names it.

    Args:
        root: where /proc is found.

    Returns:
        "x86 with VNNI", "x86 without VNNI", "Arm", or the name of another architecture. Where the instruction sets of
        x86 cannot be told, VNNI is assumed.
    """
    architecture = platform.machine().lower()
    if architecture in ("x86_64", "amd64"):
        return "x86 without VNNI" if int8_products(root) is False else "x86 with VNNI"
    return "Arm" if architecture in ("aarch64", "arm64") else architecture


def openvino_multiplies_int8() -> bool:
    """Whether the INT8 kernels that OpenVINO has for this processor are right and fast: on x86 with VNNI."""
    return processor_kind() == "x86 with VNNI"


def int8_products(root: Path = Path("/")) -> bool | None:
    """Whether the processor has instructions for INT8 products, without which INT8 may be slower than fp32.

    Args:
        root: where /proc is found.

    Returns:
        None where it cannot be told.
    """
    features = processor_features(root)
    if not features and (sys.platform, platform.machine()) == ("darwin", "arm64"):
        return True
    return bool(features & _INT8_PRODUCTS) if features else None


@cache
def processor_features(root: Path = Path("/")) -> frozenset[str]:
    """The names of the processor's instruction sets, as /proc/cpuinfo has them; empty where there is no such file."""
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    listed = [line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))]
    return frozenset(word for words in listed for word in words.split())


def _quotas(root: Path) -> Iterator[float]:
    """Every CPU quota in force, in processors: of this process's control groups and of all those above them."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / (controllers and "cpu")
        place = mount / group.lstrip("/")
        while place.is_relative_to(mount):
            with suppress(OSError, ValueError, ZeroDivisionError):  # no quota is set there
                if (place / "cpu.max").is_file():  # version 2 of control groups
                    quota, period = (place / "cpu.max").read_text().split()
                else:
                    quota = (place / "cpu.cfs_quota_us").read_text().strip()
                    period = (place / "cpu.cfs_period_us").read_text().strip()
                if quota not in ("max", "-1"):
                    yield int(quota) / int(period)
            place = place.parent
