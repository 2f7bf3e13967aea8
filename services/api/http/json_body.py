"""How a body is read: as I-JSON (RFC 7493), which every reader of it understands in the same way.

Python's own reader takes more: NaN, UTF-16, a key twice (the last one wins), any depth, numbers of any size.
What it takes and others cannot, or understand otherwise, would get into the log and fail there, for ever.
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
"""Far below what any part of the way can take: pydantic serializes 255 levels, Python's reader about 1000."""
KEYS_MAX = 1000
"""In one object: each unknown one would be an error of its own, with a text."""
_INTEGERS = range(-(2**63), 2**64)
_DIGITS_MAX = len(str(2**64))


class JsonRoute(APIRoute):
    """A route whose body is read by this file, and whose wrong media type is `415` rather than a wrong field."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def with_strict_body(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return with_strict_body


class _JsonRequest(Request):
    async def body(self) -> bytes:
        whole = await super().body()
        if whole and not _is_json(self.headers.get("content-type", "")):
            raise Refused("unsupported-media-type", "It needs the header `content-type: application/json`.")
        return whole

    async def json(self) -> Any:  # noqa: ANN401 - JSON
        return read(await self.body())


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def read(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Raises `Refused` (400), with the reason."""
    try:
        value = json.loads(
            body.decode(),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError as error:
        raise _bad(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise _bad(f"{error.msg}: line {error.lineno}, column {error.colno}") from error
    except _NotPlain as error:
        raise _bad(str(error)) from error
    except RecursionError:
        raise _too_deep() from None
    if _is_deeper_than(value, DEPTH_MAX):
        raise _too_deep()
    return value


class _NotPlain(Exception):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > KEYS_MAX:
        raise _NotPlain(f"an object has more than {KEYS_MAX} keys")
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise _NotPlain(f"the key {twice[:100]!r} comes twice in one object")
    return found


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS_MAX or (number := int(digits)) not in _INTEGERS:
        raise _NotPlain("an integer does not fit into 64 bits")
    return number


def _finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise _NotPlain("a number is too large")
    return number


def _refuse_constant(name: str) -> None:
    raise _NotPlain(f"{name} is not JSON")


def _is_deeper_than(value: Any, depth: int) -> bool:  # noqa: ANN401 - JSON
    level = [value]
    for _ in range(depth):
        level = [inner for outer in level for inner in _inside(outer)]
    return any(isinstance(node, dict | list) for node in level)


def _inside(value: Any) -> Iterable[Any]:  # noqa: ANN401 - JSON
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
