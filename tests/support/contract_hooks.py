"""Hooks for schemathesis about the tested system: loaded by `schemathesis run`, not by pytest."""

from typing import Any
from uuid import uuid4

import schemathesis

from services.api.http.openapi import examples
from shared.domain import subjects

REAL = {"chat": examples.CHAT, "answer": examples.ANSWER}


@schemathesis.hook
def map_path_parameters(
    context: schemathesis.HookContext, path_parameters: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Replaces half of the malformed ids by existing ones, but never deletes the example chat."""
    if path_parameters is None:
        return None
    found = {name: _id(name, str(value)) for name, value in path_parameters.items()}
    if (
        context.operation is not None
        and context.operation.method == "delete"
        and examples.CHAT in found.values()
    ):
        return {"chat": str(uuid4())}
    return found


def _id(name: str, value: str) -> str:
    is_id = subjects.client_id(value) is not None or subjects.is_answer_id(value)
    return value if is_id or len(value) % 2 else REAL[name]
