"""All that can be set, each bound with its unit in its name, and where it is read from.

A value comes from the environment (`UNSPOOL_` and the field's name in capitals), else from
`unspool.toml`, else it is the default below. Keys of providers come from the environment only.
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
"""Names the settings file, where no option does."""
ProviderKind = Literal["openai", "anthropic", "ollama", "demo"]


class ProviderSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[providers.NAME]` table. A model is then called `NAME/model`."""

    kind: ProviderKind
    base_url: str = ""
    api_key_env: str = ""
    """The *name* of the environment variable that holds the key: keys are never written to files."""
    models: tuple[str, ...] = ()
    """Models to offer. Empty: the provider is asked for its list."""
    prefill: bool | None = None
    """Whether the provider can go on with a text that it is given. Unset: what is usual for the kind."""
    context_tokens: int = 32_768
    """The model's window; a longer chat is trimmed to it."""


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of every process. One file, one set of names; each process reads what it needs."""

    # where things are
    nats_url: str = "nats://127.0.0.1:4222"
    nats_ca: str = ""
    """A file with the authority that certifies NATS, with `tls://` URLs. Unset: those that the system trusts."""
    postgres_url: str = "postgresql://127.0.0.1:5432/unspool"
    host: str = "127.0.0.1"
    port: int = 8000
    generator_port: int = 0
    """The generator's health and metrics port; 0 for none."""
    projector_port: int = 0
    """Likewise of `unspool projector`."""

    # who may come in
    api_key: str = ""
    metrics_key: str = ""
    """Opens `/metrics` and nothing else, for a scraper. Where no key at all is set, `/metrics` is open."""
    owner: str = "local"
    """The owner of all chats while there is one user only."""

    # the log
    log_connect_seconds: float = 10.0
    """How long the first contact may take; after it, a process reconnects for ever."""
    log_timeout_seconds: float = 2.0
    """How long one call to the log may take before it is tried again."""
    api_append_patience_seconds: float = 5.0
    """How long a command waits for the log before its caller gets 503."""
    worker_append_patience_seconds: float = 600.0
    """How long a worker keeps an answer in memory while the log is away."""
    stream_replicas: int = 1
    tokens_max_age_seconds: int = 24 * 3600
    tokens_max_bytes: int = 4 * 1024**3
    """NATS keeps this much of the disk reserved, and refuses to start the stream where there is less."""
    log_duplicate_window_seconds: int = 120
    command_retries_max: int = 8
    """How often a command is decided again when others write to the same chat."""

    # limits of what comes in
    body_max_bytes: int = 1024 * 1024
    message_max_chars: int = 200_000
    metadata_max_bytes: int = 16 * 1024
    params_max_bytes: int = 256 * 1024
    """Parameters may hold the descriptions of many tools."""
    title_max_chars: int = 500
    chat_messages_max: int = 10_000
    """Messages and answers that one chat may hold."""

    # workers
    ack_wait_seconds: float = 3.0
    """After this silence of a worker its answers are given to another."""
    heartbeat_seconds: float = 1.0
    answers_in_flight_max: int = 200
    """Answers that one generator process makes at a time."""
    ack_pending_max: int = 50_000
    """Answers that all generators together make at a time."""
    answer_max_bytes: int = 1024 * 1024
    token_event_max_bytes: int = 64 * 1024
    attempts_max: int = 3
    drain_seconds: float = 0.0
    """How long an API that was told to stop is red at /readyz before it closes: what a load balancer needs to see it."""
    shutdown_seconds: float = 2.0
    """How long a process may take to stop in good order."""
    question_timeout_seconds: float = 0.5
    """How long a worker is given to say that it still has an answer."""

    # providers
    provider_connect_seconds: float = 10.0
    provider_idle_seconds: float = 120.0
    """Silence, in bytes, after which a provider's stream counts as broken. There is no total deadline."""
    provider_retries_max: int = 4
    provider_backoff_seconds: float = 0.5
    provider_backoff_max_seconds: float = 20.0
    catalogue_refresh_seconds: float = 60.0
    default_model: str = ""
    output_tokens_max: int = 4096
    """What is kept free of the model's window for the answer, and Anthropic's obligatory bound."""

    # readers
    hot_log_max_bytes: int = 256 * 1024**2
    follower_overlap_seconds: float = 30.0
    """How far before its own start a follower begins to read."""
    follower_heartbeat_seconds: float = 1.0
    facts_held_max: int = 100_000
    """Facts that the follower keeps ahead of the read model."""
    feed_items_max: int = 10_000
    """Events of the feed of facts that an API process holds; older ones are read from the log."""
    chat_states_max: int = 10_000
    keep_alive_seconds: float = 15.0
    client_retry_milliseconds: int = 1000
    cold_answers_max: int = 50
    """Answers not in the hot log that are read in one scan of the stream; one scan at a time."""
    cold_read_seconds: float = 20.0
    done_wait_seconds: float = 2.0
    """How long `done` waits for tokens that are in the log but have not come yet."""
    streams_max: int = 10_000
    """Open answer streams in one API process."""

    # read models
    postgres_pool_max: int = 10
    postgres_timeout_seconds: float = 5.0
    projector: bool = True
    """Whether the API process also runs the projector."""
    projector_batch_max: int = 500
    projector_idle_seconds: float = 1.0
    """How often an idle projector checks that the log is still the one that it folded."""
    orphan_check_seconds: float = 10.0
    """How often it is looked for answers whose request is settled or gone, but which have no end."""
    orphans_max: int = 100
    """How many of them are ended in one go."""
    projector_retry_seconds: float = 0.5
    read_after_seconds: float = 2.0
    """How long `?after=` waits for the read model."""
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


def load(config: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Raises `ConfigurationError` with one line that names the file or variable and what is wrong with it."""
    environ = os.environ if environ is None else environ
    if config is None and environ.get(CONFIG_VARIABLE):
        config = Path(environ[CONFIG_VARIABLE])
    values = _from_file(config) | _from_environment(environ)
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"settings: {error}") from error
    _check(settings)
    return settings


def _from_file(config: Path | None) -> dict[str, Any]:
    path = config or Path("unspool.toml")
    if config is None and not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
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
            raise ConfigurationError(f"settings: provider name {name!r}: letters, digits, - and _ only")
