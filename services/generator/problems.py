"""Problems that clients get as the reason of a failed answer."""

from shared.domain.errors import ProviderError
from shared.domain.events import Problem

INTERNAL = Problem(
    code="internal",
    title="The answer could not be made.",
    detail="The generator failed at this request.",
    status=500,
)


def problem_of(error: ProviderError) -> Problem:
    return Problem(
        code=error.code, title="The provider gave no answer.", detail=error.detail, status=error.status
    )
