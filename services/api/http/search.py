"""Turns search text into expressions of Postgres. Pure."""

import re

_WORD = re.compile(r"\w+")


def words_query(text: str) -> str:
    """Returns a tsquery that requires every word as a prefix; empty if there is no word. Special characters of
    tsquery are dropped.
    """
    return " & ".join(f"'{word}':*" for word in _WORD.findall(text))


def like_pattern(text: str) -> str:
    """Returns a LIKE pattern that finds the text anywhere; special characters of LIKE are escaped."""
    literal = re.sub(r"([\\\\%_])", r"\\\1", " ".join(text.split()))
    return f"%{literal}%"
