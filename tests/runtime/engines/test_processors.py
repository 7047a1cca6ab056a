"""Threads come from what this process may use: affinity, and the quotas of both kinds of control groups. And whether
the processor multiplies integers is read off its features."""

import os
from pathlib import Path

import pytest

from dpr_export.runtime.engines.processors import int8_products, processor_kind, usable_processors


@pytest.fixture
def sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.usefixtures("sixteen")
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 16),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n"}, 4),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, 16),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "10000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "nonsense\n"}, 16),
        (
            {
                "proc/self/cgroup": "5:memory:/x\n3:cpu,cpuacct:/a\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu:/a\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
            },
            16,
        ),
    ],
)
def test_the_least_quota_counts_rounded_up(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert usable_processors(write(tmp_path, files)) == expected


def test_the_affinity_of_the_process_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert usable_processors(tmp_path) == 1


def test_a_system_without_affinity_counts_its_processors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_processors(tmp_path) == 6


X86 = "processor\t: 0\nmodel name\t: some avx_vnni processor\nflags\t\t: fpu sse2 avx2 {}\nbugs\t\t: spectre\n\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd {}\nCPU part\t: 0xd0c\n\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (X86.format("avx512f avx512_vnni"), True),
        (X86.format("avx_vnni"), True),
        (X86.format("amx_int8 amx_tile"), True),
        (X86.format("avx512f avx512bw"), False),
        (X86.format("avx512_vnni_of_another_name"), False),
        (X86.format("") * 64, False),
        (ARM.format("asimddp"), True),
        (ARM.format("i8mm"), True),
        (ARM.format("asimdhp"), False),
        ("processor : 0\nmodel name : unknown\n", None),
        ("", None),
    ],
)
def test_integer_products_are_read_off_the_processors_features(
    tmp_path: Path, text: str, expected: bool | None
) -> None:
    assert int8_products(write(tmp_path, {"proc/cpuinfo": text})) is expected


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [("linux", "x86_64", None), ("darwin", "arm64", True), ("darwin", "x86_64", None), ("win32", "AMD64", None)],
)
def test_where_features_cannot_be_read_nothing_is_said_but_of_apples_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, machine: str, expected: bool | None
) -> None:
    monkeypatch.setattr("dpr_export.runtime.engines.processors.sys.platform", system)
    monkeypatch.setattr("dpr_export.runtime.engines.processors.platform.machine", lambda: machine)
    assert int8_products(tmp_path) is expected


@pytest.mark.parametrize(
    ("machine", "text", "expected"),
    [
        ("x86_64", X86.format("avx2 avx_vnni"), "x86 with VNNI"),
        ("AMD64", X86.format("avx512f avx512_vnni"), "x86 with VNNI"),
        ("x86_64", X86.format("avx2"), "x86 without VNNI"),
        ("AMD64", "", "x86 with VNNI"),
        ("aarch64", ARM.format("asimddp"), "Arm"),
        ("arm64", "", "Arm"),
        ("riscv64", "", "riscv64"),
    ],
)
def test_the_kind_of_processor_is_that_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, text: str, expected: str
) -> None:
    monkeypatch.setattr("dpr_export.runtime.engines.processors.platform.machine", lambda: machine)
    assert processor_kind(write(tmp_path, {"proc/cpuinfo": text})) == expected
