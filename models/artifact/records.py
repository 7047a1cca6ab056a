"""Frozen dataclasses as JSON: written, and read back with every field checked for its type."""

import json
from dataclasses import MISSING, asdict, fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

_Record = TypeVar("_Record")


def written_record(record: Any) -> str:
    """A dataclass as a file of JSON holds it."""
    return json.dumps(asdict(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_record(kind: type[_Record], text: str, file: str, schema: int) -> _Record:
    """Read back what `written_record` wrote.

    Args:
        kind: the dataclass.
        text: the JSON.
        file: the file's name, for errors.
        schema: the newest version of its layout that is understood.

    Raises:
        ValueError: not JSON, a newer schema, or a field missing or of the wrong type.
    """
    try:
        values = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from None
    found = values.get("schema") if isinstance(values, dict) else None
    if isinstance(found, int) and found > schema:
        raise ValueError(
            f"{file} has schema {found}, and this dpr-export reads up to {schema}: pip install --upgrade dpr-export"
        )
    record: _Record = _read(kind, values, "", file)
    return record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number that can be compared")


def _read(kind: Any, value: Any, where: str, file: str) -> Any:
    """`value`, from JSON, as the annotated type `kind`; whatever does not fit is a ValueError that says where."""
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        optional = {f.name for f in fields(kind) if f.default is not MISSING or f.default_factory is not MISSING}
        if missing := hints.keys() - value.keys() - optional:
            raise ValueError(f"{file} lacks {where}{min(missing)}")
        return kind(**{n: _read(hint, value[n], f"{where}{n}.", file) for n, hint in hints.items() if n in value})
    if origin is tuple and isinstance(value, list):
        each = [arguments[0]] * len(value) if arguments[-1] is ... else arguments
        if len(each) == len(value):
            return tuple(_read(hint, item, where, file) for hint, item in zip(each, value, strict=True))
    if origin is dict and isinstance(value, dict):
        return {name: _read(arguments[1], item, f"{where}{name}.", file) for name, item in value.items()}
    if origin is UnionType:
        return None if value is None else _read(arguments[0], value, where, file)
    if kind is float and type(value) in (int, float) and abs(value) < 1e300:
        return float(value)
    if type(value) is kind and not (kind is str and half_surrogates(value)):
        return value
    raise ValueError(f"{file}: {where.rstrip('.') or 'the whole'} is {value!r}, of the wrong type")


def half_surrogates(text: str) -> bool:
    """Whether a text holds half a surrogate pair, which JSON can write and no file can hold."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)
