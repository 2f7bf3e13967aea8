"""All settings and their sources. The name of a limit ends with its unit.

A value comes from the environment (`UNSPOOL_` and the field's name in capitals), else from
`unspool.toml`, else from the default below. Keys of providers come from the environment only.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from shared.domain.errors import ConfigurationError

ENV_PREFIX = "UNSPOOL_"
CONFIG_VARIABLE = "UNSPOOL_CONFIG"
"""The environment variable with the path of the settings file, if no option names one."""
_DEFAULT_CONFIG = Path("unspool.toml")
ProviderKind = Literal["openai", "anthropic", "ollama", "demo"]


class ProviderSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[providers.NAME]` table. Its models are named `NAME/model`."""

    kind: ProviderKind
    base_url: str = ""
    api_key_env: str = ""
    """The *name* of the environment variable that holds the key: keys are never written to files."""
    models: tuple[str, ...] = ()
    """Models to offer. Empty: read the list from the provider."""
    prefill: bool | None = None
    """True if the provider can continue a given text. Unset: the default of the kind."""
    context_tokens: int = 32_768
    """The model's context window in tokens. A longer chat is trimmed to it."""


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of all processes. Each process uses the fields that it needs."""

    # addresses
    nats_url: str = "nats://127.0.0.1:4222"
    nats_ca: str = ""
    """The path of a CA certificate for NATS with `tls://` URLs. Unset: the CAs that the system trusts."""
    postgres_url: str = "postgresql://127.0.0.1:5432/unspool"
    host: str = "127.0.0.1"
    port: int = 8000
    generator_port: int = 0
    """The generator's health and metrics port; 0 for none."""
    projector_port: int = 0
    """The health and metrics port of `unspool projector`; 0 for none."""

    # access
    api_key: str = ""
    metrics_key: str = ""
    """A key for `/metrics` only. Without any key, `/metrics` is open."""
    owner: str = "local"
    """The owner of all chats. There is one user only."""

    # the log
    log_connect_seconds: float = 10.0
    """Time limit of the first connection. Afterwards a process reconnects without a limit."""
    log_timeout_seconds: float = 2.0
    """Timeout of one call to the log, which is then retried."""
    api_append_patience_seconds: float = 5.0
    """Time that a command waits for the log before it responds 503."""
    worker_append_patience_seconds: float = 600.0
    """Time that a worker keeps an answer in memory while the log is unavailable."""
    stream_replicas: int = 1
    tokens_max_age_seconds: int = 24 * 3600
    tokens_max_bytes: int = 4 * 1024**3
    """NATS reserves this much disk space, and does not create the stream if there is less."""
    log_duplicate_window_seconds: int = 120
    command_retries_max: int = 8
    """Number of retries of a command after a sequence conflict in its chat."""

    # limits of requests
    body_max_bytes: int = 1024 * 1024
    message_max_chars: int = 200_000
    metadata_max_bytes: int = 16 * 1024
    params_max_bytes: int = 256 * 1024
    """Limit of `params`, which may contain the descriptions of many tools."""
    title_max_chars: int = 500
    chat_messages_max: int = 10_000
    """Limit of messages and answers together in one chat."""

    # workers
    ack_wait_seconds: float = 3.0
    """Time without a heartbeat after which NATS redelivers a worker's requests to another worker."""
    heartbeat_seconds: float = 1.0
    answers_in_flight_max: int = 200
    """Limit of concurrent answers in one generator process."""
    ack_pending_max: int = 50_000
    """Limit of concurrent answers in all generators together."""
    answer_max_bytes: int = 1024 * 1024
    token_event_max_bytes: int = 64 * 1024
    attempts_max: int = 3
    drain_seconds: float = 0.0
    """Time from SIGTERM, when /readyz of an API turns 503, to its shutdown, so that a load balancer notices."""
    shutdown_seconds: float = 2.0
    """Time limit for a clean stop of a process."""
    question_timeout_seconds: float = 0.5
    """Timeout of a request to a worker about whether it still generates an answer."""

    # providers
    provider_connect_seconds: float = 10.0
    provider_idle_seconds: float = 120.0
    """Time without any bytes after which a provider's stream counts as interrupted. There is no total timeout."""
    provider_retries_max: int = 4
    provider_backoff_seconds: float = 0.5
    provider_backoff_max_seconds: float = 20.0
    catalogue_refresh_seconds: float = 60.0
    default_model: str = ""
    output_tokens_max: int = 4096
    """Tokens of the context window that are reserved for the answer, and the default of Anthropic's `max_tokens`."""

    # readers
    hot_log_max_bytes: int = 256 * 1024**2
    follower_overlap_seconds: float = 30.0
    """Time before its own start from which a follower reads the stream."""
    follower_heartbeat_seconds: float = 1.0
    facts_held_max: int = 100_000
    """Limit of facts in memory that the read model does not have yet."""
    feed_items_max: int = 10_000
    """Limit of feed events in memory; older ones are read from the log."""
    chat_states_max: int = 10_000
    keep_alive_seconds: float = 15.0
    client_retry_milliseconds: int = 1000
    cold_answers_max: int = 50
    """Limit of answers that one scan of the stream reads if they are not in the hot log. Scans run one at a time."""
    cold_read_seconds: float = 20.0
    done_wait_seconds: float = 2.0
    """Time that `done` waits for tokens that are in the log but not received yet."""
    queue_max: int = 10_000
    """Limit of requests that wait for a generator: an API refuses further ones with 503 before anything is stored."""
    streams_max: int = 10_000
    """Limit of open answer streams in one API process."""

    # read models
    postgres_pool_max: int = 10
    postgres_timeout_seconds: float = 5.0
    projector: bool = True
    """True if API processes also run the projector."""
    projector_batch_max: int = 500
    projector_gather_seconds: float = 0.05
    """Time that an idle projector waits for further facts after the first, unless a request waits for the rows."""
    projector_idle_seconds: float = 1.0
    """Interval at which an idle projector checks that the log was not replaced."""
    orphan_check_seconds: float = 10.0
    """Interval of the search for orphans: answers without an end whose request is acknowledged or lost."""
    orphans_max: int = 100
    """Limit of orphans that one search ends."""
    projector_retry_seconds: float = 0.5
    read_after_seconds: float = 2.0
    """Time that a read with `?after=` waits for the read model."""
    rebuild_swap_lag_max: int = 1000
    page_max: int = 200

    # titles
    titles: bool = True
    titles_in_flight_max: int = 10
    title_provider_seconds: float = 30.0
    title_words_max: int = 8

    # logs
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"

    providers: dict[str, ProviderSettings] = {}


def find_config(option: Path | None = None, environ: Mapping[str, str] | None = None) -> Path | None:
    """Returns the path of the settings file in effect: that of the option, else of `UNSPOOL_CONFIG`, else
    `unspool.toml` in the current directory if it is there. Returns None if there is none.

    Everything that needs the path asks here, so that all commands read the same file.
    """
    environ = os.environ if environ is None else environ
    if option is not None:
        return option
    if environ.get(CONFIG_VARIABLE):
        return Path(environ[CONFIG_VARIABLE])
    return _DEFAULT_CONFIG if _DEFAULT_CONFIG.exists() else None


def load(config: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Returns the settings. Raises `ConfigurationError` with one line that names the file or field and the problem."""
    values = _read_values(config, environ)
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"settings: {error}") from error
    _check(settings)
    return settings


def is_set(name: str, config: Path | None = None, environ: Mapping[str, str] | None = None) -> bool:
    """Returns True if the environment or the settings file sets this field, even to its default. Raises as `load`."""
    return name in _read_values(config, environ)


def _read_values(config: Path | None, environ: Mapping[str, str] | None) -> dict[str, Any]:
    environ = os.environ if environ is None else environ
    path = find_config(config, environ)
    return (_read_file(path) if path else {}) | _read_environment(environ)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    fields = {ENV_PREFIX + name.upper(): name for name in Settings.__struct_fields__ if name != "providers"}
    return {fields[key]: value for key, value in environ.items() if key in fields and value != ""}


def _check(settings: Settings) -> None:
    if settings.heartbeat_seconds * 2 > settings.ack_wait_seconds:
        raise ConfigurationError("settings: heartbeat_seconds must be at most half of ack_wait_seconds")
    for name in Settings.__struct_fields__:
        value = getattr(settings, name)
        if name.endswith(("_seconds", "_max", "_bytes", "_chars")) and value <= 0 and name != "drain_seconds":
            raise ConfigurationError(f"settings: {name} must be more than 0, not {value}")
    for name in settings.providers:
        if not name.replace("-", "").replace("_", "").isalnum():
            raise ConfigurationError(f"settings: provider name {name!r}: use only letters, digits, - and _")
