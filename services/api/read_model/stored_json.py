"""Decodes JSON of clients as Postgres returns it."""

import json
import re
from typing import Any

import msgspec

_LONG = re.compile("[0-9]{19}")
_INTEGERS = range(-(2**63), 2**64)


def decode(text: str) -> Any:  # noqa: ANN401 - JSON
    """Returns the value. Postgres writes 1e300 as an integer with all its zeros, which becomes a float again."""
    if _LONG.search(text):
        return json.loads(text, parse_int=_number)
    return msgspec.json.decode(text)


def _number(digits: str) -> int | float:
    number = int(digits)
    return number if number in _INTEGERS else float(digits)
