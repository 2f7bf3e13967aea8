"""What an API process tells of itself. Labels are few and bounded: kinds that are known here, never a client's words.

What is asked of the log and of Postgres for a scrape stands in `services/api/readings.py`.
"""

from typing import Literal, get_args

from prometheus_client import Counter, Gauge, Histogram

from shared.metrics import Tally

# --- requests ------------------------------------------------------------------------------------------

REQUESTS = Counter(
    "unspool_http_requests", "Requests, counted when their response begins.", ["method", "route", "status"]
)
FIRST_BYTE = Histogram(
    "unspool_http_first_byte_seconds",
    "From a request to the first byte of its response: for all but streams, practically its last.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0),
)

# --- answers, by the broker's clock (`answer_times.py`) --------------------------------------------------

FIRST_TOKEN = Histogram(
    "unspool_first_token_seconds",
    "From a request's append to that of its answer's first token. Each API process sees every answer.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0),
)
PACE = Histogram(
    "unspool_answer_tokens_per_second",
    "Output tokens of completed answers over the time from their first token to their end.",
    buckets=(1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 500, 1000),
)

# --- streams -----------------------------------------------------------------------------------------------

_OPENED = Counter(
    "unspool_streams_opened",
    "Answer streams opened: from the start, resumed, begun with a snapshot, already ended, or with nothing left to "
    "send; from memory (hot), or after a read of the log (direct).",
    ["kind", "source"],
)
_KINDS = ("start", "resume", "snapshot", "ended", "nothing")
OPENED = {(kind, source): _OPENED.labels(kind, source) for kind in _KINDS for source in ("hot", "direct")}
FRAMES = Tally("unspool_stream_frames", "Frames written to answer streams.")
WRITES = Tally("unspool_stream_writes", "Writes to answer streams: frames that piled up went out together.")
BYTES = Tally("unspool_stream_bytes", "Bytes written to answer streams.")
WATCHERS = Gauge("unspool_stream_watchers", "Open answer streams.")
FEED_WATCHERS = Gauge("unspool_feed_watchers", "Open streams of facts.")
HOT_BYTES = Gauge("unspool_hot_log_bytes", "Memory that the hot log takes, as it estimates it.")
HOT_BYTES_MAX = Gauge("unspool_hot_log_bytes_max", "Memory that the hot log may take.")
HOT_ANSWERS = Gauge("unspool_hot_log_answers", "Answers in the hot log.")

# --- behind the routes ---------------------------------------------------------------------------------------

FOLLOWER_LAG = Gauge("unspool_follower_lag", "Messages that this process has not followed yet.", ["stream"])
FOLLOWER_CAUGHT_UP = Gauge(
    "unspool_follower_caught_up", "1 while this process follows the log to its end.", ["stream"]
)
PROJECTION_LAG = Gauge("unspool_projection_lag", "Facts that are not folded into the read model yet.")
ProjectorState = Literal["standby", "active", "stopped"]
_PROJECTOR = Gauge(
    "unspool_projector_state", "1 for the state that this process' projector is in.", ["state"]
)
ORPHANS = Counter("unspool_orphans", "Answers that nobody would have made, ended as failed.")
QUEUE_WAITING = Gauge("unspool_queue_waiting", "Requests for answers that no worker was given yet.")
QUEUE_IN_HAND = Gauge("unspool_queue_in_hand", "Requests that workers have.")
QUEUE_AGE = Gauge("unspool_queue_age_seconds", "How long the oldest waiting request has waited; 0 for none.")
QUEUE_PULLS = Gauge(
    "unspool_queue_pulls", "Pulls of workers that wait for requests; 0: all are busy, or gone."
)
POLLS_FAILED = Counter("unspool_polls_failed", "Readings for a scrape that got no answer in time.", ["of"])
for _part in ("queue", "lags"):  # there from the start: a rate needs a zero to rise from
    POLLS_FAILED.labels(_part)


def wrote(frames: int, size_bytes: int) -> None:
    """Once per write to each watcher: plain numbers, nothing else."""
    FRAMES.count += frames
    WRITES.count += 1
    BYTES.count += size_bytes


def paced(tokens: int, seconds: float) -> None:
    """An answer that came in one piece has no pace."""
    if seconds > 0 and tokens > 1:
        PACE.observe(tokens / seconds)


def projector_is(state: ProjectorState) -> None:
    for one in get_args(ProjectorState):
        _PROJECTOR.labels(one).set(one == state)
