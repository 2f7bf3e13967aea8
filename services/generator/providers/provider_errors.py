"""Maps error responses of a provider to our errors. Pure.

Invariant: every `detail` is short, storable and does not contain the key, whatever the provider sent.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from services.generator.providers.storable import storable
from shared.domain.errors import ProviderError, ProviderInterrupted, ProviderRefused, ProviderUnavailable
from shared.retry_after import retry_after_seconds

DETAIL_MAX_CHARS = 500

_TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
_TRANSIENT = re.compile(
    r"overloaded|rate.?limit|too.?many|server.?error|api_error|unavailable|timeout|busy", re.IGNORECASE
)
_PERMANENT = re.compile(
    r"invalid|authentication|permission|not.?found|not.?supported|too_large|billing|insufficient_quota"
    r"|BadRequest|context_length|content_filter",
    re.IGNORECASE,
)


class StreamErrorFactory(Protocol):
    """`error_in_stream` with the provider's key bound."""

    def __call__(self, found: object, *, begun: bool) -> ProviderError:
        """Returns the error for an error object in a stream."""
        ...


def error_from_status(
    status: int, headers: Mapping[str, str], body: bytes, *, key: str | None, now: datetime
) -> ProviderError:
    """Returns the error for a response whose status is not 200."""
    found = _parse(body)
    detail = (
        detail_of(found, key=key) or _plain(body, key=key) or f"The provider responded with HTTP {status}."
    )
    if 300 <= status < 400:  # noqa: PLR2004 - redirects
        where = _short(headers.get("location", "elsewhere"), key)
        return ProviderRefused(
            f"The provider redirects to {where}. Set base_url to that address.", status=status
        )
    # OpenAI responds 429 for an empty account: a retry cannot succeed.
    if "insufficient_quota" in kind_of(found):
        return ProviderRefused(detail, status=status)
    if status in _TRANSIENT_STATUSES or status >= 500:  # noqa: PLR2004 - server errors
        return ProviderUnavailable(
            detail, status=status, retry_after_seconds=retry_after_seconds(headers, now)
        )
    return ProviderRefused(detail, status=status)


def error_in_stream(found: object, *, begun: bool, key: str | None) -> ProviderError:
    """Returns the error for an error object in a stream with status 200. `begun`: a delta was yielded before."""
    detail = detail_of(found, key=key) or "The provider ended the stream with an error without a message."
    kind, status = kind_of(found), _status_of(found)
    if begun:
        return ProviderInterrupted(detail, status=status)
    if status in _TRANSIENT_STATUSES or (status or 0) >= 500:  # noqa: PLR2004 - server errors
        return ProviderUnavailable(detail, status=status)
    if status is None and _TRANSIENT.search(kind):
        return ProviderUnavailable(detail)
    if status is not None or _PERMANENT.search(kind):
        return ProviderRefused(detail, status=status)
    return ProviderInterrupted(detail)


def detail_of(found: object, *, key: str | None) -> str:
    """Returns the error message in the format of OpenAI, Anthropic, Ollama, FastAPI (vLLM) or Google; else ''."""
    match found:
        case str():
            return _short(found, key)
        case {"error": {"message": str(text)} | {"detail": str(text)} | str(text)}:
            return _short(text, key)
        case {"message": str(text)} | {"detail": str(text)} | {"msg": str(text)}:
            return _short(text, key)
        case {"detail": [first, *_]} | {"errors": [first, *_]} | [first, *_]:
            return detail_of(first, key=key)
        case {"error": dict() as inner} if inner:
            return _short(json.dumps(inner, ensure_ascii=False), key)
        case _:
            return ""


def kind_of(found: object) -> str:
    """Returns the error's type, code and status names in one string, to search in."""
    match found:
        case {"error": dict() as inner}:
            return kind_of(inner)
        case [first, *_]:
            return kind_of(first)
        case dict():
            names = (found.get(name) for name in ("type", "code", "status"))
            return " ".join(name for name in names if isinstance(name, str))
        case _:
            return ""


def _status_of(found: object) -> int | None:
    match found:
        case {"error": {"code": int(code)} | {"status": int(code)} | {"status_code": int(code)}}:
            pass
        case {"code": int(code)} | {"status": int(code)}:
            pass
        case _:
            return None
    return code if 400 <= code < 600 else None  # noqa: PLR2004 - HTTP errors


def _parse(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _plain(body: bytes, *, key: str | None) -> str:
    """Returns a body of plain text. Returns '' for HTML, which comes from a proxy, and for JSON."""
    text = body.decode("utf-8", "replace").strip()
    return "" if text[:1] in {"<", "{", "["} else _short(text, key)


def _short(text: str, key: str | None) -> str:
    """Returns the text on one line, without the key, cut to its limit. Removes the key before it cuts: a key cut in
    two would not be found.
    """
    if key:
        text = text.replace(key, "[key]")
    text = storable(" ".join(text.split()))
    return text if len(text) <= DETAIL_MAX_CHARS else text[: DETAIL_MAX_CHARS - 1] + "…"
