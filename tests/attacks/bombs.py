"""Small files that unpack to much: JSON that is nested too deep, and archives of gigabytes."""

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np

from tests.attacks.victim import LIMIT, refusal, run, sign

NESTED = "[" * 200_000 + "]" * 200_000
HUGE = 10**12
PACKED = 3 << 30


def attack(exported: Path, work: Path) -> list[str]:
    """Nested files, then archives."""
    return [*nested(exported, work), *archives(exported, work)]


def nested(exported: Path, work: Path) -> list[str]:
    """Each file of JSON, too deep to be read by a function that calls itself."""
    said = []
    for name in ("manifest.json", "config.json", "tokenizer.json", "tokenizer_config.json"):
        folder = work / f"nested-{name}"
        shutil.copytree(exported, folder)
        (folder / name).write_text(NESTED, encoding="utf-8")
        if name != "manifest.json":
            sign(folder, name)
        said.append(refusal("dpr-runtime", "answer", folder, "--question", "who", "--text", "hamlet"))
    return said


def archives(exported: Path, work: Path) -> list[str]:
    """reference_outputs.npz: an array said to have 10**12 numbers, three gigabytes packed, one array 200 times."""
    said = []
    for name, content in (("declared", declared()), ("packed", packed()), ("overlapping", overlapping())):
        folder = work / f"reference-outputs-{name}"
        shutil.copytree(exported, folder)
        (folder / "reference_outputs.npz").write_bytes(content)
        sign(folder, "reference_outputs.npz")
        checked = run("dpr-runtime", "verify", folder)
        assert checked.code == 1
        assert checked.memory < LIMIT / 2
        said.append(next(line for line in checked.text.splitlines() if "reference_outputs.npz is damaged" in line))
    return said


def header(count: int) -> bytes:
    """The beginning of an .npy file of so many bytes."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|i1", "fortran_order": False, "shape": (1, count)})
    return stream.getvalue()


def declared() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("0/feeds/attention_mask.npy", header(HUGE))
    return stream.getvalue()


def packed() -> bytes:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("0/feeds/attention_mask.npy", "w", force_zip64=True) as file,
    ):
        file.write(header(PACKED))
        for _ in range(PACKED >> 20):
            file.write(bytes(1 << 20))
    return stream.getvalue()


def overlapping() -> bytes:
    """An archive whose 200 entries are all the same bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("0/feeds/attention_mask.npy", header(1 << 22) + bytes(1 << 22))
        (first,) = archive.infolist()
        for number in range(1, 200):
            archive.filelist.append(first)
            archive.NameToInfo[f"{number}"] = first
    return stream.getvalue()
