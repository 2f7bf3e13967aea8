"""From what a person types to what Postgres looks for. Pure."""

import re

_WORD = re.compile(r"\w+")


def words_query(text: str) -> str:
    """A tsquery of all words, each as a prefix; empty where there is no word. Holds nothing that tsquery has a meaning for."""
    return " & ".join(f"'{word}':*" for word in _WORD.findall(text))


def like_pattern(text: str) -> str:
    """Finds the text as it stands, anywhere: what LIKE has a meaning for is taken literally."""
    literal = re.sub(r"([\\\\%_])", r"\\\1", " ".join(text.split()))
    return f"%{literal}%"
