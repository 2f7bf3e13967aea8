"""Texts of tokens that a reader can check to the letter, and the clock that they carry.

A token is its number (5 digits), the time at which the provider sent it (9 digits) and a blank. The last token of an
answer is followed by `#` and the checksum of everything before it.
"""

import re
import time
import zlib
from array import array

from msgspec import Struct

TOKEN_BYTES = 15
TOKENS_MAX = 99_999
_NUMBER_BYTES = 5
_STAMP_END = 14
_STEP_NANOSECONDS = 10_000
_PERIOD = 10**9
"""The clock of a stamp begins again after this many steps: nearly three hours."""
_MODEL = re.compile(r"(?:.*/)?([0-9]+)x([0-9.]+)(?:x([0-9.]+))?")


class Model(Struct, frozen=True):
    """The instructions to the provider stand-in, which a model's name carries."""

    tokens: int
    per_second: float = 0.0
    """0 for as fast as it can."""
    lead_seconds: float = 0.0
    """Time before the first token."""

    @property
    def name(self) -> str:
        lead = f"x{self.lead_seconds:g}" if self.lead_seconds else ""
        return f"{self.tokens}x{self.per_second:g}{lead}"


def parse_model(name: str) -> Model:
    """Returns the meaning of a name such as `bench/500x0` or `100x50x2`. Raises `ValueError` if it has none."""
    found = _MODEL.fullmatch(name)
    if not found or not 0 < int(found[1]) <= TOKENS_MAX:
        raise ValueError(f"not a model of the bench: {name}")
    return Model(int(found[1]), float(found[2]), float(found[3] or 0))


def clock() -> int:
    """Returns the time in steps of 10 µs. All processes of a machine have the same clock."""
    return time.monotonic_ns() // _STEP_NANOSECONDS % _PERIOD


def elapsed_steps(start: int, end: int) -> int:
    """Returns the steps between two stamps; negative if the first is the later one."""
    steps = (end - start) % _PERIOD
    return steps if steps < _PERIOD // 2 else steps - _PERIOD


def later(one: int, other: int) -> int:
    """Returns the later of two stamps."""
    return other if elapsed_steps(one, other) > 0 else one


def milliseconds(steps: float) -> float:
    return steps * _STEP_NANOSECONDS / 1e6


def checksum_of(text: bytes, before: int = 0) -> int:
    """Returns the checksum of a text that continues the text with the checksum `before`."""
    return zlib.crc32(text, before)


def final_text(checksum: int) -> bytes:
    """Returns the end of an answer's text."""
    return b"#%08x" % checksum


class Received:
    """The text of one answer as one client receives it. It checks each token at once, in any division into pieces."""

    def __init__(self, expected: int, latencies: "array[int]") -> None:
        """Takes the number of tokens, and the array for their latencies in steps."""
        self.after: int | None = None
        """Tokens that were sent before this stamp have no latency."""
        self.tokens = 0
        self.first_at: int | None = None
        self.last_at = 0
        self.wrong = ""
        """The first error in the text, or ''."""
        self._expected = expected
        self._latencies = latencies
        self._rest = b""
        self._checksum = 0

    @property
    def is_complete(self) -> bool:
        """True if exactly the provider's text is there."""
        return not self.wrong and self.tokens == self._expected and self._rest == final_text(self._checksum)

    def add(self, text: bytes, now: int) -> None:
        """Adds the next piece of the text, received at the stamp `now`."""
        if self.first_at is None and text:
            self.first_at = now
        self.last_at = now
        if self._rest:
            text = self._rest + text
        position = 0
        while len(text) - position >= TOKEN_BYTES and self.tokens < self._expected:
            self._take(text[position : position + TOKEN_BYTES], now)
            position += TOKEN_BYTES
        self._checksum = checksum_of(text[:position], self._checksum)
        self._rest = text[position:]

    def clear(self) -> None:
        """Drops the text: another attempt begins, or a snapshot follows."""
        self.tokens, self._rest, self._checksum = 0, b"", 0

    def _take(self, token: bytes, now: int) -> None:
        self.tokens += 1
        number, stamp = token[:_NUMBER_BYTES], token[_NUMBER_BYTES:_STAMP_END]
        if not (number.isdigit() and stamp.isdigit()) or int(number) != self.tokens:
            self.wrong = self.wrong or f"{token!r} came in place of token {self.tokens}"
            return
        sent = int(stamp)
        if self.after is None or elapsed_steps(self.after, sent) >= 0:
            self._latencies.append(max(0, elapsed_steps(sent, now)))
