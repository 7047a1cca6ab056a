"""Write frozen dataclasses as JSON, and read them back with the type of every field checked."""

import json
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from dpr_export.models.artifact.git_lfs import check_no_pointer

_Record = TypeVar("_Record")


def record_to_json(record: Any) -> str:
    """Return the JSON text of a dataclass."""
    return json.dumps(asdict(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def record_from_json(record_type: type[_Record], text: str, file: str, schema: int, oldest: int = 1) -> _Record:
    """Build a dataclass from the text that `record_to_json` returned; `file` stands in errors.

    Its field `schema`, the version of its layout, must be within `oldest` and `schema`.

    Raises:
        ValueError: not JSON, an older or newer schema, or a field missing or of the wrong type.
    """
    try:
        values = json.loads(text.removeprefix("\ufeff"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from None
    found = values.get("schema") if isinstance(values, dict) else None
    if type(found) is int and found > schema:
        raise ValueError(
            f"{file} has schema {found}, and this dpr-export reads up to {schema}: pip install --upgrade dpr-export"
        )
    if type(found) is int and found < oldest:
        raise ValueError(
            f"{file} has schema {found}, of an older dpr-export, and this one reads from {oldest}: export the "
            "checkpoint again"
        )
    record: _Record = _convert(record_type, values, "", file)
    return record


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, with or without a byte-order mark, or raise a ValueError that names it."""
    check_no_pointer(path)
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def has_lone_surrogate(text: str) -> bool:
    """Return whether a text holds half a surrogate pair, which JSON can express and UTF-8 cannot."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number that can be compared")


def _convert(hint: Any, value: Any, path: str, file: str) -> Any:
    """Convert a JSON value to the annotated type `hint`; a ValueError names the field at `path` if it does not fit."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and is_dataclass(hint) and isinstance(value, dict):
        hints = get_type_hints(hint)
        optional = {f.name for f in fields(hint) if f.default is not MISSING or f.default_factory is not MISSING}
        if missing := hints.keys() - value.keys() - optional:
            raise ValueError(f"{file} lacks {path}{min(missing)}")
        return hint(**{n: _convert(hints[n], value[n], f"{path}{n}.", file) for n in hints if n in value})
    if origin is tuple and isinstance(value, list):
        items = [arguments[0]] * len(value) if arguments[-1] is ... else arguments
        if len(items) == len(value):
            return tuple(_convert(item, each, path, file) for item, each in zip(items, value, strict=True))
    if origin is dict and isinstance(value, dict):
        return {name: _convert(arguments[1], item, f"{path}{name}.", file) for name, item in value.items()}
    if origin is UnionType:
        return None if value is None else _convert(arguments[0], value, path, file)
    if hint is float and type(value) in (int, float) and abs(value) < 1e300:
        return float(value)
    if type(value) is hint and not (hint is str and has_lone_surrogate(value)):
        return value
    raise ValueError(f"{file}: {path.rstrip('.') or 'the content'} is {value!r}, of the wrong type")
