"""The network's effect on a call, chosen by the seed: a delay, a lost request, a lost reply, or the death of the
caller in the middle.
"""

import random
from collections.abc import Callable

from msgspec import Struct

from tests.simulation.loop import Process


class Weather(Struct):
    """Probabilities per call or delivery. All are zero in calm weather."""

    lost: float = 0.0
    ack_lost: float = 0.0
    late: float = 0.0
    delivery_lost: float = 0.0
    told_lost: float = 0.0
    """Probability of a loss for messages without a reply: heartbeats and naks."""
    slow: float = 0.0
    crash: float = 0.0
    """Probability of the caller's death before, during or after the call."""


class Fate(Struct, frozen=True):
    """The delays of one call. `there` is None if the request is lost, `back` is None if the reply is lost."""

    there: float | None
    back: float | None


CALM = Weather()


class Network:
    def __init__(self, random_: random.Random) -> None:
        self._random = random_
        self.weather = CALM
        self.torn_down = False
        """The run is over: every call fails at once."""
        self.strike: Callable[[Process], None] = lambda _process: None
        """Kills or freezes a process, if the plan of the run allows another fault."""

    def latency(self) -> float:
        chance = self._random.random
        return 0.05 + chance() if chance() < self.weather.slow else 0.0002 + chance() * 0.003

    def delivery(self) -> float | None:
        """Returns the delay of a push consumer's message, or None if it is dropped."""
        if self.weather.delivery_lost and self._random.random() < self.weather.delivery_lost:
            return None
        return self.latency()

    def forgets(self) -> bool:
        return self.weather.told_lost > 0 and self._random.random() < self.weather.told_lost

    def fate(self, timeout: float) -> Fate:
        weather, chance = self.weather, self._random.random()
        if chance < weather.lost:
            return Fate(None, None)
        chance -= weather.lost
        if chance < weather.ack_lost:
            return Fate(self.latency(), None)
        chance -= weather.ack_lost
        if chance < weather.late:  # it arrives when its sender has long given up, or is just about to
            return Fate(timeout * (0.5 + self._random.random()), self.latency())
        return Fate(self.latency(), self.latency())

    def maybe_strike(self, process: Process) -> None:
        if self.weather.crash and self._random.random() < self.weather.crash:
            self.strike(process)
