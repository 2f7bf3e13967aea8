"""Errors of the client, one class per decision that a caller can make."""

from dataclasses import dataclass


class ClientError(Exception):
    """The base class of all errors of this package."""


class ConfigurationError(ClientError, ValueError):
    """A URL or an API key is not valid."""


class Unreachable(ClientError):
    """No server responded in time. A call that changes something may have been executed."""


class ContractBroken(ClientError):
    """The responses do not follow the contract, and retries did not help: another server, or another version."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that is not valid."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class ProblemDocument:
    """A problem document (RFC 9457); missing fields are empty."""

    type: str = ""
    title: str = ""
    detail: str = ""
    errors: tuple[FieldError, ...] = ()


class Refused(ClientError):
    """The server rejected the request. A retry cannot succeed."""

    def __init__(self, status: int, problem: ProblemDocument) -> None:
        # The detail of a wrong field is its first message: it says more with the field's name.
        fields = "; ".join(f"{error.field}: {error.message}" for error in problem.errors)
        reason = fields or problem.detail
        super().__init__(f"{problem.title}: {reason}" if reason else problem.title)
        self.status = status
        self.problem = problem


class Unauthorized(Refused):
    """The API key is missing or wrong."""


class Missing(Refused):
    """The chat or answer does not exist, was deleted, or belongs to another owner."""


class Conflict(Refused):
    """The branch has an answer in generation, or the id was used before with different content."""


def refusal(status: int, problem: ProblemDocument) -> Refused:
    """Returns the error for a status and its problem document."""
    kinds: dict[int, type[Refused]] = {401: Unauthorized, 403: Unauthorized, 404: Missing, 409: Conflict}
    return kinds.get(status, Refused)(status, problem)
