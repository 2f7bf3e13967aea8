"""JSON of clients, as Postgres gives it back."""

import json
import re
from typing import Any

import msgspec

_LONG = re.compile("[0-9]{19}")
_INTEGERS = range(-(2**63), 2**64)


def decode(text: str) -> Any:  # noqa: ANN401 - JSON
    """Jsonb writes 1e300 with all its zeros, as an integer that no client could send and few can read: it is a float."""
    if _LONG.search(text):
        return json.loads(text, parse_int=_number)
    return msgspec.json.decode(text)


def _number(digits: str) -> int | float:
    number = int(digits)
    return number if number in _INTEGERS else float(digits)
