"""Makes content safe for a terminal: titles, texts, arguments of tool calls, errors of providers.

Invariant: every command passes content through `printable` or `escape_json` before it writes it. A terminal obeys
control characters, and bidirectional overrides make a line read otherwise than it is stored.
"""

import re

TAB = "    "
_COMMANDS_TO_TERMINALS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_RAW_IN_JSON = re.compile(r"[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Returns the text with a replacement character for each control character and bidirectional override.

    Line ends stay. Tabs become spaces.
    """
    return _COMMANDS_TO_TERMINALS.sub(
        "\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n").replace("\t", TAB)
    )


def escape_json(document: str) -> str:
    """Returns the same JSON document, with escapes for what JSON may hold as it is and a terminal obeys.

    A program that reads the document gets every character of its strings.
    """
    return _RAW_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", document)
