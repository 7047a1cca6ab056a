"""Pickles that run code when they are read: in reference_outputs.npz, and as the weights of a checkpoint."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.attacks.victim import refusal, run, sign


class Payload:
    """What touches a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (exec, (f"open({str(self.file)!r}, 'w').close()",))


def attack(exported: Path, work: Path) -> list[str]:
    """Give every reader of a pickle one."""
    touched = work / "touched"
    pickle.loads(pickle.dumps(Payload(touched)))  # it works where it is let
    touched.unlink()
    said = [*reference_outputs(exported, work / "reference_outputs", Payload(touched))]
    for name, write in (("zip", True), ("legacy", False)):
        said.append(weights(exported, work / f"weights-{name}", Payload(touched), write))
    said.append(first_code(exported, work / "first", Payload(touched)))
    assert not touched.exists(), "code was run"
    return said


def reference_outputs(exported: Path, folder: Path, payload: Payload) -> list[str]:
    shutil.copytree(exported, folder)
    np.savez(
        folder / "reference_outputs.npz",
        allow_pickle=True,
        **{"0/feeds/input_ids": np.array([[payload]], dtype=object)},
    )
    sign(folder, "reference_outputs.npz")
    checked = run("dpr-runtime", "verify", folder)
    assert checked.code == 1
    assert "reference_outputs.npz is damaged: Object arrays cannot be loaded" in checked.text
    return [line for line in checked.text.splitlines() if "Object arrays" in line]


def weights(exported: Path, folder: Path, payload: Payload, as_zip: bool) -> str:
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(exported / name, folder)
    torch.save({"weights": payload}, folder / "pytorch_model.bin", _use_new_zipfile_serialization=as_zip)
    line = refusal("dpr-export", folder, "-o", folder.with_name("out"))
    assert "pytorch_model.bin" in line
    assert not folder.with_name("out").exists()
    return line


def first_code(exported: Path, folder: Path, payload: Payload) -> str:
    folder.mkdir()
    torch.save({"model_dict": {}, "optimizer_dict": payload}, folder / "reader.cp")
    line = refusal(
        "dpr-export", folder / "reader.cp", "--kind", "reader", "--tokenizer", exported, "-o", folder.with_name("out")
    )
    assert "reader.cp" in line
    return line
