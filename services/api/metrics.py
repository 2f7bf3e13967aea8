"""Metrics of an API process. Labels are few and bounded: their values are known here and never come from clients.

`services/api/scrape_gauges.py` sets the gauges that are read from the log and Postgres at a scrape.
"""

from typing import Literal, get_args

from prometheus_client import Counter, Gauge, Histogram

from shared.metrics import Tally

# --- requests ------------------------------------------------------------------------------------------

REQUESTS = Counter(
    "unspool_http_requests", "HTTP requests, counted when the response begins.", ["method", "route", "status"]
)
FIRST_BYTE = Histogram(
    "unspool_http_first_byte_seconds",
    "Seconds from a request to the first byte of its response.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0),
)

# --- answers, by the broker's clock (`answer_times.py`) --------------------------------------------------

FIRST_TOKEN = Histogram(
    "unspool_first_token_seconds",
    "Seconds from the append of a request to the append of its first token. Every API process observes every answer.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0),
)
PACE = Histogram(
    "unspool_answer_tokens_per_second",
    "Output tokens per second of completed answers, from the first token to the end.",
    buckets=(1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 500, 1000),
)

# --- streams -----------------------------------------------------------------------------------------------

_OPENED = Counter(
    "unspool_streams_opened",
    "Opened answer streams. kind: start, resume, snapshot, ended (the answer had ended), nothing (nothing left to "
    "send). source: hot (from memory) or direct (after a read of the log).",
    ["kind", "source"],
)
_KINDS = ("start", "resume", "snapshot", "ended", "nothing")
OPENED = {(kind, source): _OPENED.labels(kind, source) for kind in _KINDS for source in ("hot", "direct")}
FRAMES = Tally("unspool_stream_frames", "Frames written to answer streams.")
WRITES = Tally(
    "unspool_stream_writes",
    "Writes to answer streams. One write sends all frames that are pending for a reader.",
)
BYTES = Tally("unspool_stream_bytes", "Bytes written to answer streams.")
WATCHERS = Gauge("unspool_stream_watchers", "Open answer streams.")
FEED_WATCHERS = Gauge("unspool_feed_watchers", "Open streams of the feed.")
HOT_BYTES = Gauge("unspool_hot_log_bytes", "Estimated memory of the hot log in bytes.")
HOT_BYTES_MAX = Gauge(
    "unspool_hot_log_bytes_max", "Limit of the hot log's memory in bytes (hot_log_max_bytes)."
)
HOT_ANSWERS = Gauge("unspool_hot_log_answers", "Answers in the hot log.")

# --- behind the routes ---------------------------------------------------------------------------------------

FOLLOWER_LAG = Gauge(
    "unspool_follower_lag", "Messages of the stream that this process has not received yet.", ["stream"]
)
FOLLOWER_CAUGHT_UP = Gauge(
    "unspool_follower_caught_up", "1 while this process receives the stream up to its end.", ["stream"]
)
PROJECTION_LAG = Gauge(
    "unspool_projection_lag", "Facts that the projector has not written to the read model yet."
)
ProjectorState = Literal["standby", "active", "stopped"]
_PROJECTOR = Gauge(
    "unspool_projector_state", "1 for the current state of this process' projector.", ["state"]
)
ORPHANS = Counter("unspool_orphans", "Orphaned answers: ended as failed, because their request was lost.")
QUEUE_WAITING = Gauge("unspool_queue_waiting", "Pending requests: not delivered to a worker yet.")
QUEUE_IN_HAND = Gauge("unspool_queue_in_hand", "Requests delivered to workers and not acknowledged yet.")
QUEUE_AGE = Gauge("unspool_queue_age_seconds", "Age of the oldest pending request in seconds; 0 if none.")
QUEUE_PULLS = Gauge(
    "unspool_queue_pulls", "Open pull requests of workers. 0: all workers are busy, or none is connected."
)
POLLS_FAILED = Counter(
    "unspool_polls_failed", "Reads of the log or Postgres for a scrape that failed or timed out.", ["of"]
)
for _part in ("queue", "lags"):  # Create the series at 0, so that `rate` sees the first increment.
    POLLS_FAILED.labels(_part)


def count_write(frames: int, size_bytes: int) -> None:
    """Counts one write to one reader. It runs for each write, so it only adds plain numbers."""
    FRAMES.count += frames
    WRITES.count += 1
    BYTES.count += size_bytes


def observe_pace(tokens: int, seconds: float) -> None:
    """Observes the rate of an answer. Skips an answer that came in one piece, which has no rate."""
    if seconds > 0 and tokens > 1:
        PACE.observe(tokens / seconds)


def set_projector_state(state: ProjectorState) -> None:
    """Sets the gauge of this state to 1 and all others to 0."""
    for one in get_args(ProjectorState):
        _PROJECTOR.labels(one).set(one == state)
