"""Read a frozen dataclass from plain JSON values, strictly: what configurations share, of a network and of a run."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin

from model.errors import ConfigError

T = TypeVar("T")


def read_dataclass(cls: type[T], values: Any, where: str) -> T:
    """Make `cls`, and the dataclasses inside it, from a mapping; `where` names it in errors.

    Raises `ConfigError`: `config_unknown_key`, `config_missing_key`, or `config_invalid` for a value of the wrong type.
    """
    if not isinstance(values, Mapping):
        raise ConfigError("config_invalid", f"{where} must be a mapping, not {type(values).__name__}.")
    known = {entry.name: entry.type for entry in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError("config_unknown_key", f"{where} has unknown keys: {', '.join(map(str, unknown))}.")
    arguments = {key: _read_field(value, known[key], f"{where}.{key}") for key, value in values.items()}
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ConfigError("config_missing_key", f"{where} is incomplete: {error}.") from None


def _read_field(value: Any, expected: Any, where: str) -> Any:
    nested = next((item for item in (expected, *get_args(expected)) if is_dataclass(item)), None)
    if nested is None:
        return _read_plain(value, expected, where)
    if value is None and nested is not expected:  # an optional part
        return None
    assert isinstance(nested, type)
    return read_dataclass(nested, value, where)


def _read_plain(value: Any, expected: Any, where: str) -> Any:
    """Check one plain value against its annotation; whole numbers are welcome where a float is expected."""
    arguments, origin = get_args(expected), get_origin(expected)
    if origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(_read_plain(item, arguments[0], where) for item in value)
    elif origin is Literal:
        if value in arguments:
            return value
    elif expected is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif isinstance(value, expected) and (expected is bool or not isinstance(value, bool)):
        return value
    raise ConfigError("config_invalid", f"{where} cannot be {value!r}.")
