"""Decodes JSON into dataclasses by their annotations. Pure.

Fields that the class does not have are ignored: a later server may send more. A field of another type is an error.
"""

import json
import types
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class Undecodable(ValueError):
    """The text is not JSON, or not of the class that was expected."""


def decode(text: str | bytes, kind: type[T]) -> T:
    """Returns an instance of a dataclass. Raises `Undecodable`, which names the place and not the content."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"no JSON: {type(error).__name__}") from error
    found: T = _convert(document, kind, "$")
    return found


def _convert(value: Any, kind: Any, at: str) -> Any:  # noqa: ANN401, PLR0911 - any JSON value, by its annotation
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in {Union, types.UnionType}:
        if value is None and type(None) in arguments:
            return None
        (kind,) = (one for one in arguments if one is not type(None))
        return _convert(value, kind, at)
    if origin is Literal:
        return _check(value, value in arguments, at)
    if origin is tuple:
        items = _check(value, isinstance(value, list), at)
        return tuple(_convert(item, arguments[0], f"{at}[{number}]") for number, item in enumerate(items))
    if origin is dict:
        return _check(value, isinstance(value, dict), at)
    if kind is datetime:
        return _convert_time(value, at)
    if is_dataclass(kind):
        return _convert_object(value, kind, at)
    # In JSON, true is no number; in Python it is one.
    return _check(value, isinstance(value, kind) and isinstance(value, bool) == (kind is bool), at)


def _convert_object(value: Any, kind: Any, at: str) -> Any:  # noqa: ANN401 - see `_convert`
    _check(value, isinstance(value, dict), at)
    given: dict[str, Any] = {}
    for name, annotation, required in _fields_of(kind):
        if name in value:
            given[name] = _convert(value[name], annotation, f"{at}.{name}")
        elif required:
            raise Undecodable(f"{at}.{name} is missing")
    return kind(**given)


def _convert_time(value: Any, at: str) -> datetime:  # noqa: ANN401 - see `_convert`
    try:
        return datetime.fromisoformat(_check(value, isinstance(value, str), at))
    except ValueError as error:
        raise Undecodable(f"{at} is no time") from error


def _check(value: Any, fits: bool, at: str) -> Any:  # noqa: ANN401, FBT001 - see `_convert`
    if not fits:
        raise Undecodable(f"{at} is of another type: {type(value).__name__}")
    return value


@cache
def _fields_of(kind: type) -> tuple[tuple[str, Any, bool], ...]:
    """Returns name and annotation of each field, and whether it must be given."""
    hints = get_type_hints(kind)
    return tuple(
        (one.name, hints[one.name], one.default is MISSING and one.default_factory is MISSING)
        for one in fields(kind)
    )
