"""Damaged files to break whatever reads them with: what comes back is whole, or one of the documented errors."""

import io
import json
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import MANIFEST_FILE, Manifest
from dpr_export.models.artifact.reference_outputs import read_reference_outputs
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import find_kind
from dpr_export.models.tokenization.reader_tokenizer import DPRReaderTokenizer
from dpr_export.runtime.inference.inputs import check_inputs
from tests.hostile.fuzz import Target, one_line

NUMBERS = 0, 1, -1, 2, 1.5, -0.0, 1e308, 1e999, float("nan"), 2**31, 2**63, 10**30, -(10**30)
WORDS = (
    "",
    "x",
    "..",
    "../x",
    "/etc/passwd",
    "a/../../b",
    "a\x00b",
    "\ud800",
    "[PAD]",
    "fp32",
    "right",
    "DPRReader",
    "1",
)
OTHERS = None, True, False, [], {}, [[]], [None], {"": None}, {"x": {}}, ["x", 1]
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
NAMES = "0/feeds/input_ids", "0/feeds/attention_mask", "0/reference/x", "0/feeds", "x/y/z", "1/../..", "0/feeds/x/y"
DESCRIPTIONS = (
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}",
    "{'descr': '<i8', 'fortran_order': False, 'shape': (3, -7)}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    "{'descr': '<U9', 'fortran_order': True, 'shape': ()}",
    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
    "{'descr': '<f4', 'fortran_order': 2, 'shape': (99999999999999999999,)}",
    "{" * 90,
    "((((",
    "",
)


def make_value(chance: Random) -> Any:
    """A value of JSON that is seldom where it belongs."""
    return deepcopy(chance.choice(chance.choice((NUMBERS, WORDS, OTHERS))))


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) within nested lists and objects."""
    found = []
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        found += [(value, key), *places(value[key])]
    return found


def damaged_values(chance: Random, values: Any) -> Any:
    """A copy of some JSON in which up to three things are replaced, removed, renamed, doubled or swapped."""
    values = deepcopy(values)
    for _ in range(chance.randint(1, 3)):
        if not (known := places(values)):
            return make_value(chance)
        (inside, key), (other, other_key) = chance.choice(known), chance.choice(known)
        change = chance.randint(0, 5)
        if change == 0:
            del inside[key]
        elif change == 1 and isinstance(inside, dict):
            inside[chance.choice(WORDS)] = inside.pop(key)
        elif change == 2:
            inside[key] = deepcopy(other[other_key])
        elif change == 3 and isinstance(inside, list):
            inside.append(make_value(chance))
        else:
            inside[key] = make_value(chance)
    return values


def damaged_bytes(chance: Random, content: bytes) -> bytes:
    """Bytes of which up to three pieces are overwritten, removed, doubled or cut off."""
    for _ in range(chance.randint(1, 3)):
        place = chance.randint(0, len(content))
        end = min(len(content), place + chance.choice((1, 2, 4, 8, 100)))
        new = bytes(chance.choice((0, 1, 255, 0x7F, 0x28, 0x5B, 0x22)) for _ in range(end - place))
        content = chance.choice(
            (
                content[:place] + new + content[end:],
                content[:place] + content[end:],
                content[:end] + content[place:],
                content[:place],
                content[:place] + b"[" * 3000 + content[place:],
            )
        )
    return content


def json_case(values: Any, chance: Random) -> bytes:
    """A damaged document: mostly its values, sometimes its bytes."""
    text = json.dumps(damaged_values(chance, values)).encode()
    return damaged_bytes(chance, text) if chance.random() < 0.2 else text


def check_manifest(content: bytes) -> None:
    try:
        text = content.decode()
        manifest = Manifest.from_json(text)
    except ValueError:
        return
    assert Manifest.from_json(manifest.to_json()) == manifest
    inside = Path("/folder/inside")
    for name in (*manifest.files, *(variant.file for variant in manifest.variants)):
        assert (inside / name).resolve().is_relative_to(inside), name
        assert (inside / name).resolve() != inside, name


def check_folder(folder: Path, content: bytes) -> None:
    (folder / MANIFEST_FILE).write_bytes(content)
    try:
        ExportedFolder.open(folder, verify=True)
    except (OSError, ValueError) as error:
        one_line(error)


def check_config(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    try:
        config = DPRConfig.from_pretrained(folder)
        check_inputs(find_kind(config.architectures), config, [[0, 0, 0]])
    except (OSError, ValueError) as error:
        one_line(error)
        return
    assert DPRConfig.from_dict(config.to_dict()) == config or "NaN" in content.decode()
    assert config.dim > 0


def tokenizer_case(documents: dict[str, Any], chance: Random) -> tuple[str, bytes]:
    """One of a tokenizer's files, damaged."""
    name = chance.choice(list(documents))
    return name, json_case(documents[name], chance)


def check_tokenizer(folder: Path, documents: dict[str, Any], case: tuple[str, bytes]) -> None:
    for name, values in documents.items():
        (folder / name).write_text(json.dumps(values), encoding="utf-8")
    (folder / case[0]).write_bytes(case[1])
    with panics_as_errors():
        try:
            tokenizer = DPRReaderTokenizer.from_pretrained(folder)
        except (OSError, ValueError) as error:
            one_line(error)
            return
        with suppress(ValueError):
            encoded = tokenizer("who wrote hamlet ?", "a", "the play is by shakespeare")
            tokenizer.batch_decode(encoded["input_ids"])


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Rust's panics are no exceptions, and would end the whole run."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error


def reference_outputs_case(content: bytes, chance: Random) -> bytes:
    """Damaged bytes, or an archive of arrays whose headers lie."""
    if chance.random() < 0.5:
        return damaged_bytes(chance, content)
    stream = io.BytesIO()
    packing = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    names = {chance.choice(NAMES) + chance.choice((".npy", "")): None for _ in range(chance.randint(0, 4))}
    with zipfile.ZipFile(stream, "w", packing) as archive:
        for name in names:
            archive.writestr(name, _array(chance))
    return stream.getvalue()


def _array(chance: Random) -> bytes:
    """The bytes of an .npy file, whose header may be anything."""
    header = chance.choice(DESCRIPTIONS).encode()
    if chance.random() < 0.3:
        stream = io.BytesIO()
        np.save(stream, np.zeros((chance.randint(0, 3), 2), chance.choice(("i8", "f4", "U3", "c8"))))
        return stream.getvalue()
    version = chance.choice((b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    size = struct.pack("<H" if version[0] == 1 else "<I", len(header))
    return b"\x93NUMPY" + version + size + header + b"\x00" * chance.randint(0, 40)


def check_reference_outputs(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        examples = read_reference_outputs(file)
    except ValueError as error:
        one_line(error)
        return
    for example in examples:
        batch, length = example.shape
        assert batch >= 0
        assert length >= 0
        assert all(array.dtype.kind in "iuf" for array in (*example.feeds.values(), *example.reference.values()))


def file_targets(root: Path, exported: Path) -> list[Target]:
    """The files of an exported folder, each read by what reads it."""
    folder, copy, scratch = root / "folder", root / "copy", root / "scratch"
    shutil.copytree(exported, copy)
    folder.mkdir()
    scratch.mkdir()
    manifest, config = (json.loads((exported / name).read_text("utf-8")) for name in (MANIFEST_FILE, "config.json"))
    documents = {name: json.loads((exported / name).read_text("utf-8")) for name in TOKENIZER_FILES[:2]}
    documents["special_tokens_map.json"] = {"cls_token": "[CLS]", "sep_token": {"content": "[SEP]", "lstrip": False}}
    documents["added_tokens.json"] = {"<x>": len(documents["tokenizer.json"]["model"]["vocab"])}
    outputs = (exported / "reference_outputs.npz").read_bytes()
    rows: list[tuple[str, Callable[[Random], Any], Callable[[Any], None]]] = [
        ("manifest", partial(json_case, manifest), check_manifest),
        ("folder", partial(json_case, manifest), partial(check_folder, copy)),
        ("config", partial(json_case, config), partial(check_config, folder)),
        ("tokenizer", partial(tokenizer_case, documents), partial(check_tokenizer, folder, documents)),
        (
            "reference outputs",
            partial(reference_outputs_case, outputs),
            partial(check_reference_outputs, scratch / "reference_outputs.npz"),
        ),
    ]
    return [Target(*row) for row in rows]
