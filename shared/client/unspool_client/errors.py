"""What can go wrong for a client: one class per decision that its caller can make."""

from dataclasses import dataclass


class ClientError(Exception):
    """The root of what the client raises on purpose."""


class ConfigurationError(ClientError, ValueError):
    """A URL or an API key is not one that a client can use."""


class Unreachable(ClientError):
    """No server answered within the time that was given. A call that asks for something may have been done."""


class ContractBroken(ClientError):
    """What answers is not Unspool, or not one that this client understands; trying again did not help."""


@dataclass(frozen=True, slots=True)
class FieldError:
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class ProblemDocument:
    """RFC 9457, as far as it is there."""

    type: str = ""
    title: str = ""
    detail: str = ""
    errors: tuple[FieldError, ...] = ()


class Refused(ClientError):
    """The server understood, and will not. Trying the same again is of no use."""

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
    """No such chat or answer; or it was deleted, or is somebody else's."""


class Conflict(Refused):
    """The branch's answer is still being made, or an id was used before with other content."""


def refusal(status: int, problem: ProblemDocument) -> Refused:
    kinds: dict[int, type[Refused]] = {401: Unauthorized, 403: Unauthorized, 404: Missing, 409: Conflict}
    return kinds.get(status, Refused)(status, problem)
