"""Requests with one error each, and the expected response. Data only; `test_bad_input.py` sends them."""

import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

JSON = {"content-type": "application/json"}
CHATS, CHAT, MESSAGES = "/v1/chats", "/v1/chats/$chat", "/v1/chats/$chat/messages"
ANSWER, STREAM = "/v1/answers/$answer", "/v1/answers/$answer/stream"
REGENERATE = "/v1/answers/$answer/regenerate"
NUL, SURROGATE = "\0", "\ud800"
NO_UUID = "00000000-0000-4000-8000-000000000000"
LONG = "x" * 60_000


class Bad(Struct, frozen=True, kw_only=True):
    """One bad request. `$chat`, `$answer`, `$message` and `$other` (an answer of another chat) are replaced."""

    name: str
    path: str
    method: str = "POST"
    body: bytes = b""
    chunked: bool = False
    headers: Mapping[str, str | bytes] = {}
    status: int = 422
    type: str = "invalid"
    field: str | None = None


def field(path: str, name: str, value: Any, *, where: str = "", type_: str = "invalid") -> Bad:
    """Returns a request whose body has one wrong field. `where`: the reported field, if it is another."""
    right: dict[str, Any] = {"content": "x"} if path == MESSAGES else {}
    body = json.dumps(right | {name: value}).encode()  # json.dumps escapes surrogates, as a client could
    label = f"{path} {name}={json.dumps(value)[:40]}"
    method = "PATCH" if path == CHAT else "POST"
    return Bad(name=label, method=method, path=path, body=body, headers=JSON, type=type_, field=where or name)


def fields(paths: list[str], name: str, *values: Any, type_: str = "invalid") -> list[Bad]:
    return [field(path, name, value, type_=type_) for path in paths for value in values]


def raw(name: str, body: bytes, status: int = 400, type_: str = "bad-json", **more: Any) -> Bad:
    """Returns a request whose body cannot be parsed."""
    return Bad(
        name=f"body {name}", path=MESSAGES, body=body, status=status, type=type_, **{"headers": JSON} | more
    )


def get(path: str, status: int, type_: str, where: str | None = None, **headers: str | bytes) -> Bad:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    label = f"GET {path[:60]} {named}"[:120]
    return Bad(name=label, method="GET", path=path, headers=named, status=status, type=type_, field=where)


def no_method(method: str, path: str) -> Bad:
    return Bad(name=f"{method} {path}", method=method, path=path, status=405, type="method-not-allowed")


def inside(value: bytes) -> bytes:
    return b'{"content": "x", "metadata": {"a": ' + value + b"}}"


def nested(levels: int) -> bytes:
    return inside(b"[" * levels + b"]" * levels)


WRONG_PARAMS: list[tuple[str, Any]] = [
    *(("temperature", value) for value in ("1", 2.1, -1, True)),
    ("top_p", 1.1),
    *(("max_output_tokens", value) for value in (0, 1.5, 2**62)),
    *(("seed", value) for value in ("1", 1.5)),
    ("stop", 1),
    ("stop", {}),
    ("stop", ["x"] * 101),
]
UNSTORABLE = [
    case
    for text in (NUL, f"a{SURROGATE}b", f"{SURROGATE}{NUL}")
    for case in (
        field(MESSAGES, "content", text),
        field(MESSAGES, "content", [{"type": "text", "text": "x"}, {"type": "text", "text": text}], where="content.1.text"),
        field(MESSAGES, "id", text),
        field(MESSAGES, "parent_id", text),
        field(MESSAGES, "model", text),
        field(MESSAGES, "metadata", {"a": [text]}),
        field(MESSAGES, "metadata", {text: 1}),
        field(MESSAGES, "params", {"stop": text}),
        field(MESSAGES, "params", {"stop": ["x", text]}),
        field(MESSAGES, "params", {"own": {"a": text}}),
        field(CHATS, "id", text),
        field(CHATS, "title", text),
        field(CHATS, "system", text),
        field(CHATS, "model", text),
        field(CHATS, "metadata", {"a": text}),
        field(CHAT, "title", text),
        field(CHAT, "metadata", {text: 1}),
        field(REGENERATE, "id", text),
        field(REGENERATE, "model", text),
        field(REGENERATE, "params", {"a": text}),
    )
]  # fmt: skip

FIELDS = [
    *fields([MESSAGES], "content", None, 1, True, {}, [], "", " \n\t", "x" * 200_001),
    *fields([MESSAGES], "content", *([{"type": "text", "text": text}] for text in ("", "  "))),
    field(MESSAGES, "content", [{"type": "text", "text": "x"}] * 1001),
    field(MESSAGES, "content", [1], where="content.0"),
    field(MESSAGES, "content", [{"text": "x"}], where="content.0.type"),
    field(MESSAGES, "content", [{"type": "image", "text": "x"}], where="content.0.type"),
    field(MESSAGES, "content", [{"type": "text"}], where="content.0.text"),
    field(MESSAGES, "content", [{"type": "text", "text": "x", "a": 1}], where="content.0.a"),
    *fields([CHATS, MESSAGES, REGENERATE], "id", 1, "", "x", LONG, NO_UUID + "0"),
    *fields([MESSAGES], "parent_id", 1, [], "", "x", LONG, "$chat", "$message", "$other"),
    *fields([CHATS, MESSAGES, REGENERATE], "model", 1, "", LONG),
    *fields([CHATS, MESSAGES, REGENERATE], "model", "nope", "demo/", "/", "demo/0x0ms", "demo/20x5ms\n", type_="unknown-model"),
    *fields([MESSAGES, REGENERATE], "params", None, 1, "x", [], {"a": LONG * 5}),
    *(field(MESSAGES, "params", {name: value}, where=f"params.{name}") for name, value in WRONG_PARAMS),
    field(MESSAGES, "params", {"stop": ["x", 1]}, where="params.stop.1"),
    *fields([CHATS, MESSAGES, CHAT], "metadata", None, 1, [], "x", {"a": "x" * 17_000}),
    *fields([CHATS, CHAT], "title", 1, [], "", "  ", "x" * 501),
    *fields([CHATS], "system", 1, {}, "x" * 200_001),
    *fields([CHAT], "title", None),
    *fields([CHAT], "archived", None, 1, "true", []),
    *(field(path, name, 1) for path in (CHATS, CHAT, MESSAGES, REGENERATE) for name in ("unknown", "Title", "x" * 400)),
    field(CHATS, SURROGATE, 1, where="body"),
]  # fmt: skip

BODIES = [
    raw("is empty", b"", 422, "invalid", field="body"),
    *(raw(f"is {body.decode()}", body, 422, "invalid", field="body") for body in (b"[]", b"1", b"null", b'"x"', b"true")),
    raw("has no content", b"{}", 422, "invalid", field="content"),
    *(raw(body.decode(), body) for body in (b'{"content":', b'{"content": "x",}', b"{'content': 'x'}", b'{"content": "x"} x',
                                            b'{"content": "\t"}', b'{"content": "\\x"}', b'{"content": "\\ud8"}', b"content=x", b"\0")),
    raw("is not UTF-8", b'{"content": "\xff\xfe"}'),
    raw("has an encoded surrogate", b'{"content": "\xed\xa0\x80"}'),
    raw("is UTF-16", '{"content": "x"}'.encode("utf-16")),
    raw("begins with a byte order mark", b'\xef\xbb\xbf{"content": "x"}'),
    *(raw(f"has the number {number[:20].decode()}", inside(number)) for number in (
        b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"01", b"+1", b".5", b"1" * 5000, b"-1" + b"0" * 30,
        str(2**64).encode(), str(-(2**63) - 1).encode())),
    raw("has a huge temperature", b'{"content": "x", "params": {"temperature": 1' + b"0" * 400 + b"}}"),
    raw("has a key twice", b'{"content": "x", "content": "y"}'),
    raw("has a key twice, inside", inside(b'[{"a": 1, "b": 2, "\\u0061": 3}]')),
    raw("has an object of 1001 keys", json.dumps({f"a{n}": n for n in range(1001)}).encode()),
    *(raw(f"is nested {levels} deep", nested(levels)) for levels in (63, 300, 900, 5000, 200_000)),
    *(raw(f"is said to be {kind!r}", b'{"content": "x"}', 415, "unsupported-media-type", headers={"content-type": kind})
      for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx", ";;;", "/")),
    raw("is not said to be anything", b'{"content": "x"}', 415, "unsupported-media-type", headers={}),
    raw("has 10 MB", b" " * 10_000_000, 413, "body-too-large"),
    raw("has 10 MB in chunks", b" " * 10_000_000, 413, "body-too-large", chunked=True),
    raw("has 400,000 wrong parts", b'{"content": [' + b"1," * 400_000 + b"1]}", 422, "invalid", field="content.0"),
]  # fmt: skip

ADDRESSES = [
    *(get(f"/v1/chats/{id_}", 404, "not-found") for id_ in (
        "x", NO_UUID, "%00", "%FF", "%ED%A0%80", "%E2%80%A8", "*", "%3E", "$answer", "%20$chat", "$chat%0A", LONG)),
    *(get(f"/v1/answers/{id_}{rest}", 404, "not-found") for rest in ("", "/stream") for id_ in (
        "x", "$chat", "$message", f"$chat_a{NO_UUID}", f"{NO_UUID}_a{NO_UUID}", "$chat_a", "%00", "_a", "$answer%00", LONG)),
    *(Bad(name=f"{method} {path} {body!r}", method=method, path=path, body=body, headers=JSON, status=404, type="not-found")
      for method, path, body in (
        ("POST", f"/v1/chats/{NO_UUID}/messages", b'{"content": "x"}'), ("POST", "/v1/chats/x/messages", b'{"content": "x"}'),
        ("PATCH", f"/v1/chats/{NO_UUID}", b'{"title": "x"}'), ("DELETE", f"/v1/chats/{NO_UUID}", b""), ("DELETE", "/v1/chats/x", b""),
        ("POST", f"/v1/answers/$chat_a{NO_UUID}/regenerate", b"{}"), ("POST", "/v1/answers/$message/regenerate", b"{}"),
        ("POST", f"/v1/answers/$chat_a{NO_UUID}/cancel", b""), ("POST", "/v1/answers/x/cancel", b""), ("POST", "/v1/nope", b"{}"))),
    *(get(path, 404, "not-found") for path in ("/nope", "/v1", "/v1/nope", "/v1/chats/", "/v1/chats//messages", "/v1/chats/$chat/x", "/V1/chats")),
    no_method("PUT", CHATS), no_method("DELETE", CHATS), no_method("OPTIONS", CHATS), no_method("TRACE", CHATS),
    no_method("PUT", CHAT), no_method("GET", MESSAGES), no_method("POST", ANSWER), no_method("DELETE", ANSWER),
    no_method("POST", STREAM), no_method("GET", REGENERATE), no_method("POST", "/v1/models"), no_method("POST", "/livez"),
]  # fmt: skip

QUERIES = [
    *(get(f"/v1/chats?limit={value}", 422, "invalid", "limit") for value in ("x", "0", "-1", "1e3", "1.5", "9" * 5000, "1&limit=x")),
    *(get(f"/v1/chats?before={value}", 422, "invalid", "before") for value in ("", "x", "1.5", "c", "c-1", "c1x", "c" + "9" * 30)),
    *(get(f"{path}?after={value}", 422, "invalid", "after") for path in (CHATS, CHAT)
      for value in ("", "x", "1.5", "c", "c%00", "c%D9%A1", "c" + "9" * 30)),
    *(get(f"/v1/chats?archived={value}", 422, "invalid", "archived") for value in ("", "maybe", "2")),
    get(f"/v1/chats?q={'x' * 201}", 422, "invalid", "q"),
    *(get(f"{STREAM}?after={value}", 400, "bad-cursor") for value in ("x", "c12", "1", "1.", "1.0", "0.1", "-1.1", "1.1.1", "1.%D9%A1", "%00", "1." + "9" * 30)),
    *(get(f"/v1/events?after={value}", 400, "bad-cursor") for value in ("x", "1.1", "c", "c" + "9" * 30)),
    *(get(f"/v1/events?chat={value}", 404, "not-found") for value in ("x", "", NO_UUID, "$answer")),
]  # fmt: skip

HEADERS = [
    *(get(STREAM, 400, "bad-cursor", last_event_id=value) for value in ("nonsense", "c12", b"\xff\xfe", "1.0", "1.1, 1.2", "1." + "9" * 40_000)),
    *(get("/v1/events", 400, "bad-cursor", last_event_id=value) for value in ("nonsense", "1.1", b"\xff")),
    *(raw(f"with Idempotency-Key {key[:9]!r}", b'{"content": "x"}', 422, "invalid", headers=JSON | {"idempotency-key": key}, field="Idempotency-Key")
      for key in ("", "x" * 201)),
]  # fmt: skip

CASES = [*UNSTORABLE, *FIELDS, *BODIES, *ADDRESSES, *QUERIES, *HEADERS]
