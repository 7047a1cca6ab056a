"""Ways to damage an exported folder or a checkpoint, for the tables of bad input."""

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from dpr_export.models.artifact.folder import hash_file

GRAPH = "onnx/model.onnx"
Damage = Callable[[Path], object]


def json_with(name: str, **changes: Any) -> Damage:
    """Change values of a JSON file, given by their path in it; None leaves one out."""

    def damage(folder: Path) -> None:
        values = json.loads((folder / name).read_text())
        for path, value in changes.items():
            *parents, last = path.split("__")
            place = values
            for parent in parents:
                place = place[int(parent) if isinstance(place, list) else parent]
            place.pop(last) if value is None else place.__setitem__(int(last) if last.isdigit() else last, value)
        (folder / name).write_text(json.dumps(values))
        _record(folder, name)

    return damage


def _record(folder: Path, name: str) -> None:
    """Write a changed file's true size and hash into the manifest, so that it is its content that is refused."""
    if name != "manifest.json" and (folder / "manifest.json").exists():
        values = json.loads((folder / "manifest.json").read_text())
        record = hash_file(folder / name)
        values["files"][name] = {"bytes": record.bytes, "sha256": record.sha256}
        (folder / "manifest.json").write_text(json.dumps(values))


def bytes_with(name: str, change: Callable[[bytes], bytes], recorded: bool = False) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))
        if recorded:
            _record(folder, name)

    return damage


def lost(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def graph_called(name: str) -> Damage:
    """Let the manifest call the graph something else."""

    def damage(folder: Path) -> None:
        text = (folder / "manifest.json").read_text()
        (folder / "manifest.json").write_text(text.replace(json.dumps(GRAPH), json.dumps(name)))

    return damage


def bit_turned(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


class Payload:
    """A pickle of this runs a command that leaves a file behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {MARK}",)


MARK = "pickle-was-run"


def with_pickle(content: bytes) -> bytes:
    return content[:-1] + pickle.dumps(Payload())


@dataclass(frozen=True)
class Broken:
    """A damage, the words of the line that refuses it, and what the command does with the folder."""

    name: str
    damage: Damage
    words: str
    arguments: tuple[str, ...] = ("answer", "--question", "who ?", "--text", "a play")


def weights_with(change: Callable[[dict[str, torch.Tensor]], Any]) -> Damage:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return damage


def weights_as_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"payload": Payload()}, folder / "pytorch_model.bin")


def longer_vocabulary(folder: Path) -> None:
    with (folder / "vocab.txt").open("a") as file:
        file.writelines(f"more{number}\n" for number in range(200))
