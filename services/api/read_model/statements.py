"""SQL statements from files, by name, for a given schema."""

import re
from functools import cache
from importlib.resources import files

LIVE = "unspool"
"""The live schema. A rebuild fills another schema and then renames it to this one."""
BUILDING = "unspool_building"
RETIRED = "unspool_retired"

_NAME = re.compile(r"^-- name: (\S+)$", re.MULTILINE)


@cache
def statements(schema: str = LIVE) -> dict[str, str]:
    """Returns the statements of `queries.sql` by name, for this schema."""
    parts = _NAME.split(_text("queries.sql"))
    bodies = zip(parts[1::2], parts[2::2], strict=True)
    return {name: _without_comments(body).format(schema=schema) for name, body in bodies}


def tables(schema: str) -> str:
    """Returns the statements that create the tables of an empty schema."""
    return _text("schema.sql").replace("{schema}", schema)


def _text(name: str) -> str:
    return files("services.api.read_model").joinpath(name).read_text(encoding="utf-8")


def _without_comments(body: str) -> str:
    return "\n".join(line for line in body.splitlines() if not line.startswith("--")).strip()
