"""Graphs are added to an exported folder so that whoever opens it, or an interruption, finds it whole."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dpr_export.models.artifact.folder import ExportedFolder, add_files, hash_file
from dpr_export.models.artifact.manifest import FileRecord, Manifest, Variant

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


@pytest.fixture
def added_until(
    held: ExportedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, FileRecord]]:
    """Adds two variants to a folder, and is interrupted as `interrupted` says; gives their graphs' records."""

    def add(folder: Path, at: int, after: bool, changed: bool = False) -> dict[str, FileRecord]:
        making = tmp_path / "making"
        variants = stage(held, making)
        for file in FILES if changed else ():  # another graph of the same name and size
            graph = bytearray((making / file).read_bytes())
            graph[len(graph) // 2] ^= 1
            (making / file).write_bytes(graph)
        records = {file: hash_file(making / file) for file in FILES}
        with monkeypatch.context() as patch, interrupted(patch, at, after):
            add_files(ExportedFolder.open(folder), variants, making)
        return records

    return add


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(3))
def test_files_that_are_added_and_interrupted_anywhere_leave_a_folder_that_opens(
    plain: Callable[..., Path], added_until: Callable[..., dict[str, FileRecord]], at: int, after: bool
) -> None:
    folder = plain()
    before = files_of(ExportedFolder.open(folder).manifest)
    new = [("onnxruntime", file) for file in added_until(folder, at, after)]
    found = files_of(ExportedFolder.open(folder, verify=True).manifest)
    assert found[: len(before)] == before
    assert sorted(found[len(before) :]) == (sorted(new) if (at, after) == (2, True) else [])
    assert hidden(folder) == []


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(4))
def test_files_that_are_replaced_and_interrupted_anywhere_leave_a_folder_that_opens(
    plain: Callable[..., Path],
    held: ExportedFolder,
    tmp_path: Path,
    added_until: Callable[..., dict[str, FileRecord]],
    at: int,
    after: bool,
) -> None:
    folder = plain()
    add_files(ExportedFolder.open(folder), stage(held, tmp_path / "old"), tmp_path / "old")
    before = files_of(ExportedFolder.open(folder, verify=True).manifest)
    new = added_until(folder, at, after, changed=True)
    found = ExportedFolder.open(folder, verify=True).manifest
    assert hidden(folder) == []
    if (at, after) == (0, False):
        assert files_of(found) == before
    elif (at, after) == (3, True):
        assert files_of(found) == before
        assert {name: found.files[name] for name in new} == new
    else:
        assert files_of(found) == before[:2]


def test_a_graph_that_is_gone_changes_nothing(plain: Callable[..., Path], held: ExportedFolder, tmp_path: Path) -> None:
    folder = plain()
    before = ExportedFolder.open(folder).manifest
    variants = stage(held, tmp_path / "making")
    (tmp_path / "making" / FILES[1]).unlink()
    with pytest.raises(FileNotFoundError, match=r"model_ort_int8\.onnx"):
        add_files(ExportedFolder.open(folder), variants, tmp_path / "making")
    assert ExportedFolder.open(folder, verify=True).manifest == before
    assert not (folder / FILES[0]).exists()


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
