"""The load process is told to do these plans, and reports these outcomes: a line of JSON for each."""

from msgspec import Struct

SILENCE_SECONDS = 60.0


class Percentiles(Struct, frozen=True, kw_only=True):
    """Percentiles in milliseconds. All are 0 if nothing was measured."""

    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class _Plan(Struct, frozen=True, kw_only=True):
    dialect: str
    urls: tuple[str, ...]
    model: str


class Answers(_Plan, frozen=True, kw_only=True, tag="answers"):
    """Each client asks and reads its answers one after the other. Clients are spread over the URLs."""

    clients: int = 1
    answers_each: int = 1
    spread_seconds: float = 0.0
    """Time over which the clients begin, at equal distances."""
    resume: bool = False
    """Connect again, at the cursor, when a connection breaks."""
    silence_seconds: float = SILENCE_SECONDS
    """An answer that takes longer than this counts as lost."""


class Watch(_Plan, frozen=True, kw_only=True, tag="watch"):
    """One answer is asked for, and many watchers read it."""

    watchers: int
    silence_seconds: float = SILENCE_SECONDS


class Resume(_Plan, frozen=True, kw_only=True, tag="resume"):
    """One client reads an answer. Others connect in its middle, with a cursor that is `missed` tokens old."""

    missed: int
    times: int
    pause_seconds: float
    """Time between two of them."""


class Idle(_Plan, frozen=True, kw_only=True, tag="idle"):
    """Many watchers hold the stream of an answer that says nothing, until the plan `Release`.

    A target without shared streams gets an answer for each watcher.
    """

    watchers: int
    shared: bool
    silence_seconds: float = SILENCE_SECONDS


class Release(Struct, frozen=True, kw_only=True, tag="release"):
    """Closes the connections that `Idle` holds."""


Plan = Answers | Watch | Resume | Idle | Release


class Outcome(Struct, frozen=True, kw_only=True):
    """The result of a plan."""

    answers: int = 0
    complete: int = 0
    """Answers that were received to the letter."""
    tokens: int = 0
    seconds: float = 0.0
    """From the first call to the last token."""
    asking_seconds: float = 0.0
    """From the first call until all questions were accepted."""
    catch_up: Percentiles = Percentiles()
    """From opening a connection to the newest token of that moment."""
    first_token: Percentiles = Percentiles()
    """From the first call of an answer to its first token."""
    latency: Percentiles = Percentiles()
    """From the provider's sending of a token to its receipt."""
    errors: tuple[str, ...] = ()
    """The first errors."""

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0
