"""The position of a reader in an answer. Pure.

Invariant: it accepts no event twice, and no event after a gap. It outlives connections.
"""

from typing import assert_never

from unspool_client.events import Breach, Done, Reset, Snapshot, Started, StreamEvent, Token, parse_token_id


class Position:
    """A reader's position. `cursor` is the id of the last event with an id, for the next connection."""

    def __init__(self, after: str | None = None) -> None:
        self.cursor = after
        known = parse_token_id(after) if after else (0, 0)
        self._attempt = known[0] if known else 0
        self._index = known[1] if known else None  # None: from a cursor that we cannot read, all is new
        self._had: dict[type[Started | Reset], tuple[int | None, int]] = {}
        """Events without an id: the index at which they arrived, and their newest attempt."""

    def take(self, event: StreamEvent) -> bool:
        """Returns True if the event is new, and advances. Raises `Breach` if an earlier event is missing."""
        match event:
            case Token():
                return self._token(event)
            case Started() | Reset():
                return self._without_id(event)
            case Snapshot():
                self.cursor, self._attempt, self._index = event.id, event.attempt, event.index
                return True
            case Done():
                if self._index not in {None, event.last_index}:
                    raise Breach(f"an end at index {event.last_index}, after index {self._index}")
                self.cursor = event.id
                return True
            case _:
                assert_never(event)

    def _without_id(self, event: Started | Reset) -> bool:
        """Returns False for an event that is repeated after a reconnect without a token in between."""
        index, attempt = self._had.get(type(event), (None, 0))
        if index == self._index and attempt >= event.attempt:
            return False
        self._had[type(event)] = self._index, event.attempt
        return True

    def _token(self, event: Token) -> bool:
        if self._index is not None and event.index <= self._index:
            if event.attempt > self._attempt:
                raise Breach(f"token {event.id} after index {self._index}, without a snapshot")
            return False
        if self._index is not None and event.index > self._index + 1:
            raise Breach(f"token {event.id} after index {self._index}")
        self.cursor, self._attempt, self._index = event.id, event.attempt, event.index
        return True
