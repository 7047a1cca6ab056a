"""Graphs are added to an exported folder so that whoever opens it, or an interruption, finds it whole."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dpr_export.models.folder import ExportedFolder, add_files, file_record
from dpr_export.models.manifest import Manifest, Variant

FILES = ("onnx/model_ort_fp16.onnx", "onnx/model_ort_int8.onnx")


def files_of(manifest: Manifest) -> list[tuple[str, str]]:
    return [(variant.backend, variant.file) for variant in manifest.variants]


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*")]


@pytest.fixture(scope="module")
def held(tiny_variants: dict[str, Path]) -> ExportedFolder:
    return ExportedFolder.open(tiny_variants["question"])


class Interrupted(BaseException):
    """What ends a process between two writes."""


@contextmanager
def interrupted(patch: pytest.MonkeyPatch, at: int, after: bool) -> Iterator[None]:
    """End what is done within before, or after, the rename number `at`: every file is put in its place by one."""
    count = [0]
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if count[0] > at:
            raise AssertionError("something went on after the interruption")
        count[0] += 1
        if count[0] > at and not after:
            raise Interrupted
        moved = real(self, target)
        if count[0] > at:
            raise Interrupted
        return moved

    patch.setattr(Path, "replace", replace)
    with pytest.raises(Interrupted):
        yield


def stage(held: ExportedFolder, making: Path) -> list[Variant]:
    """Two variants of a folder and their graphs, to be moved in."""
    variants = [variant for variant in held.manifest.variants if variant.file in FILES]
    (making / "onnx").mkdir(parents=True)
    for variant in variants:
        shutil.copyfile(held.path / variant.file, making / variant.file)
    return variants


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(3))
def test_files_that_are_added_and_interrupted_anywhere_leave_a_folder_that_opens(
    plain: Callable[..., Path],
    held: ExportedFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    after: bool,
) -> None:
    folder = plain()
    before = files_of(ExportedFolder.open(folder).manifest)
    variants = stage(held, tmp_path / "making")
    with monkeypatch.context() as patch, interrupted(patch, at, after):
        add_files(ExportedFolder.open(folder), variants, tmp_path / "making")
    new = [(variant.backend, variant.file) for variant in variants]
    last = (at, after) == (2, True)
    assert files_of(ExportedFolder.open(folder, verify=True).manifest) == before + (new if last else [])
    assert hidden(folder) == []


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(4))
def test_files_that_are_replaced_and_interrupted_anywhere_leave_a_folder_that_opens(
    plain: Callable[..., Path],
    held: ExportedFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    after: bool,
) -> None:
    folder = plain()
    add_files(ExportedFolder.open(folder), stage(held, tmp_path / "old"), tmp_path / "old")
    before = files_of(ExportedFolder.open(folder, verify=True).manifest)
    variants = stage(held, tmp_path / "making")
    for variant in variants:  # another graph of the same name and size
        graph = bytearray((tmp_path / "making" / variant.file).read_bytes())
        graph[len(graph) // 2] ^= 1
        (tmp_path / "making" / variant.file).write_bytes(graph)
    new = {variant.file: file_record(tmp_path / "making" / variant.file) for variant in variants}
    with monkeypatch.context() as patch, interrupted(patch, at, after):
        add_files(ExportedFolder.open(folder), variants, tmp_path / "making")
    found = ExportedFolder.open(folder, verify=True).manifest
    assert hidden(folder) == []
    if (at, after) == (0, False):
        assert files_of(found) == before
    elif (at, after) == (3, True):
        assert files_of(found) == before
        assert {name: found.files[name] for name in new} == new
    else:
        assert files_of(found) == before[:2]


def test_a_folder_is_never_seen_with_a_file_that_is_not_the_manifests(
    plain: Callable[..., Path], held: ExportedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = plain()
    seen = []
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        moved = real(self, target)
        seen.append(len(ExportedFolder.open(folder, verify=True).manifest.variants))
        return moved

    monkeypatch.setattr(Path, "replace", replace)
    for name in ("first", "second"):
        add_files(ExportedFolder.open(folder), stage(held, tmp_path / name), tmp_path / name)
    assert seen == [2, 2, 4, 2, 2, 2, 4]
