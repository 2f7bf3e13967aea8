"""Errors, one class per decision that a caller can make. Only `services/api/http/problems.py` maps them to HTTP."""

from collections.abc import Sequence as Items


class UnspoolError(Exception):
    """The base class of all errors that Unspool raises intentionally."""


class ConfigurationError(UnspoolError):
    """A setting cannot work. The message is one line for the person who set it."""


# --- the log -------------------------------------------------------------------------------------


class LogUnavailable(UnspoolError):
    """The log did not respond in time. An append in progress may or may not have been stored."""


class LogFull(UnspoolError):
    """The log rejected an append because of a storage limit. Nothing was stored."""


class SequenceConflict(UnspoolError):
    """Another event has been appended after the expected sequence. Read it and decide again."""

    def __init__(self, subject: str, expected: int) -> None:
        super().__init__(f"{subject}: another event follows the expected sequence {expected}")
        self.subject = subject
        self.expected = expected


class TailLost(UnspoolError):
    """The subject ends before the expected sequence: the broker lost acknowledged events."""

    def __init__(self, subject: str, expected: int, last: int) -> None:
        super().__init__(f"{subject}: ends at sequence {last}, but {expected} was acknowledged")
        self.subject = subject
        self.expected = expected
        self.last = last


class ChatGone(UnspoolError):
    """The chat was deleted while an event was being written for it."""


class UndecodableEvent(UnspoolError):
    """A stored event has no type that this version knows."""

    def __init__(self, subject: str, sequence: int, reason: str) -> None:
        super().__init__(f"event at sequence {sequence} on {subject}: {reason}")
        self.subject = subject
        self.sequence = sequence
        self.reason = reason


# --- decisions of the domain -----------------------------------------------------------------------


class Rejected(UnspoolError):
    """The chat's state does not allow the command. Nothing was appended."""


class NotFound(Rejected):
    """The chat, message or answer does not exist or belongs to another owner."""

    def __init__(self, kind: str, id_: str) -> None:
        super().__init__(f"There is no {kind} {id_!r}.")
        self.kind = kind
        self.id = id_


class IdConflict(Rejected):
    """The id was used before with different content."""


class AnswerInProgress(Rejected):
    """The branch has an answer that has not ended."""

    def __init__(self, answer: str) -> None:
        super().__init__(f"The answer {answer!r} on this branch has not ended: wait for it or cancel it.")
        self.answer = answer


class Invalid(Rejected):
    """A field of a command is not valid: `field` is its path, such as `params.temperature`."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


# --- providers -------------------------------------------------------------------------------------


class ProviderError(UnspoolError):
    """The provider did not complete an answer. `detail` is its reason, without secrets."""

    code = "provider-error"

    def __init__(self, detail: str, *, status: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status


class ProviderUnavailable(ProviderError):
    """The provider is overloaded, rate limited or unreachable before the first token: a retry may succeed."""

    code = "provider-unavailable"

    def __init__(
        self, detail: str, *, status: int | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(detail, status=status)
        self.retry_after_seconds = retry_after_seconds


class ProviderRefused(ProviderError):
    """The provider rejected the request and a retry cannot succeed: a bad parameter, an unknown model, a wrong key."""

    code = "provider-refused"


class ProviderInterrupted(ProviderError):
    """The stream broke off, sent nothing for too long, or reported an error after its start."""

    code = "provider-interrupted"


class UnknownModel(Rejected):
    """No provider has this model, or several providers have a model of this name."""

    def __init__(self, model: str, known: Items[str] = ()) -> None:
        hint = f" Known models: {', '.join(known)}." if known else ""
        super().__init__(f"The model {model!r} is unknown or its name is ambiguous.{hint}")
        self.model = model
