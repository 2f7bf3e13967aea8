"""Parses request bodies as I-JSON (RFC 7493), which every JSON parser understands in the same way.

Python's parser accepts more: NaN, UTF-16, duplicate keys (the last one wins), any depth, numbers of any size.
Other readers of the log reject such values or read them differently, so they must not get into the log.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from services.api.http.problems import Refused

DEPTH_MAX = 64
"""Far below every limit further on: pydantic serializes 255 levels, Python's parser reads about 1000."""
KEYS_MAX = 1000
"""Limit for one object: each unknown key produces a validation error with a text."""
_INTEGERS = range(-(2**63), 2**64)
_DIGITS_MAX = len(str(2**64))


class JsonRoute(APIRoute):
    """A route that parses its body with `parse`, and answers a wrong media type with 415 instead of a field error."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return handle_json


class _JsonRequest(Request):
    async def body(self) -> bytes:
        whole = await super().body()
        if whole and not _is_json(self.headers.get("content-type", "")):
            raise Refused("unsupported-media-type", "Send the header `content-type: application/json`.")
        return whole

    async def json(self) -> Any:  # noqa: ANN401 - JSON
        return parse(await self.body())


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def parse(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Returns the value. Raises `Refused` (400, `bad-json`) with the reason and its position."""
    try:
        value = json.loads(
            body.decode(),
            object_pairs_hook=_parse_object,
            parse_int=_parse_integer,
            parse_float=_parse_float,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError as error:
        raise _bad(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise _bad(f"{error.msg}: line {error.lineno}, column {error.colno}") from error
    except _InvalidJson as error:
        raise _bad(str(error)) from error
    except RecursionError:
        raise _too_deep() from None
    if _is_deeper_than(value, DEPTH_MAX):
        raise _too_deep()
    return value


class _InvalidJson(Exception):
    pass


def _parse_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > KEYS_MAX:
        raise _InvalidJson(f"an object has more than {KEYS_MAX} keys")
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise _InvalidJson(f"the key {twice[:100]!r} occurs twice in one object")
    return found


def _parse_integer(digits: str) -> int:
    if len(digits) > _DIGITS_MAX or (number := int(digits)) not in _INTEGERS:
        raise _InvalidJson("an integer exceeds 64 bits")
    return number


def _parse_float(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise _InvalidJson("a number is too large")
    return number


def _refuse_constant(name: str) -> None:
    raise _InvalidJson(f"{name} is not JSON")


def _is_deeper_than(value: Any, depth: int) -> bool:  # noqa: ANN401 - JSON
    level = [value]
    for _ in range(depth):
        level = [inner for outer in level for inner in _children(outer)]
    return any(isinstance(node, dict | list) for node in level)


def _children(value: Any) -> Iterable[Any]:  # noqa: ANN401 - JSON
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()


def _too_deep() -> Refused:
    return _bad(f"nested more than {DEPTH_MAX} levels deep")


def _bad(reason: str) -> Refused:
    return Refused("bad-json", reason)
