"""One class per decision that a caller can make. What HTTP makes of them is said in `services/api/http/problems.py` alone."""

from collections.abc import Sequence as Items


class UnspoolError(Exception):
    """The root of all errors that Unspool raises on purpose."""


class ConfigurationError(UnspoolError):
    """A setting cannot work; the message is one line for the person who set it."""


# --- the log -------------------------------------------------------------------------------------


class LogUnavailable(UnspoolError):
    """The log did not answer in time. Whether an append under way was stored is not known."""


class LogFull(UnspoolError):
    """The log refused an append for lack of room or for a limit. Nothing was stored."""


class SequenceConflict(UnspoolError):
    """Something else stands where the append expected nothing: decide again on what is there."""

    def __init__(self, subject: str, expected: int) -> None:
        super().__init__(f"{subject}: more than sequence {expected} is there")
        self.subject = subject
        self.expected = expected


class TailLost(UnspoolError):
    """The subject ends before the expected sequence: the broker lost what it had acknowledged."""

    def __init__(self, subject: str, expected: int, last: int) -> None:
        super().__init__(f"{subject}: ends at sequence {last}, {expected} was acknowledged")
        self.subject = subject
        self.expected = expected
        self.last = last


class ChatGone(UnspoolError):
    """The chat was deleted while something was being written for it."""


class UndecodableEvent(UnspoolError):
    """A stored event is not of any type that this version knows."""

    def __init__(self, subject: str, sequence: int, reason: str) -> None:
        super().__init__(f"event at sequence {sequence} on {subject}: {reason}")
        self.subject = subject
        self.sequence = sequence
        self.reason = reason


# --- decisions of the domain -----------------------------------------------------------------------


class Rejected(UnspoolError):
    """A command that the chat's state does not allow. Nothing was appended."""


class NotFound(Rejected):
    """No such chat, message or answer, or it is somebody else's."""

    def __init__(self, kind: str, id_: str) -> None:
        super().__init__(f"There is no {kind} {id_!r}.")
        self.kind = kind
        self.id = id_


class IdConflict(Rejected):
    """The id was used before, with other content."""


class AnswerInProgress(Rejected):
    """The branch has an answer that is not yet at its end."""

    def __init__(self, answer: str) -> None:
        super().__init__(f"The answer {answer!r} on this branch is still being made.")
        self.answer = answer


class Invalid(Rejected):
    """A field of a command is wrong: `field` is its path, such as `params.temperature`."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


# --- providers -------------------------------------------------------------------------------------


class ProviderError(UnspoolError):
    """The provider did not give an answer. `detail` is its own reason, without secrets."""

    code = "provider-error"

    def __init__(self, detail: str, *, status: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status


class ProviderUnavailable(ProviderError):
    """Overloaded, limited or unreachable before the first token: worth another try."""

    code = "provider-unavailable"

    def __init__(
        self, detail: str, *, status: int | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(detail, status=status)
        self.retry_after_seconds = retry_after_seconds


class ProviderRefused(ProviderError):
    """The provider will never take this request: a bad parameter, no such model, a wrong key."""

    code = "provider-refused"


class ProviderInterrupted(ProviderError):
    """The stream broke off, fell silent or turned into an error after it had begun."""

    code = "provider-interrupted"


class UnknownModel(Rejected):
    """No provider has this model, or several have one of this bare name."""

    def __init__(self, model: str, known: Items[str] = ()) -> None:
        hint = f" Known models: {', '.join(known)}." if known else ""
        super().__init__(f"There is no model {model!r}, or its name is ambiguous.{hint}")
        self.model = model
