"""Decodes lists of models in the formats of different servers. Pure."""

MODELS_MAX = 2000
NAME_MAX_CHARS = 256


def model_names(found: object) -> tuple[str, ...]:
    """Returns the names in `data[].id` (OpenAI, Anthropic) or `models[].name` (Ollama), without duplicates. Skips
    entries without a valid name.
    """
    match found:
        case {"data": list(entries)} | {"models": list(entries)} | [*entries]:
            pass
        case _:
            return ()
    named = (_name(entry) for entry in entries[:MODELS_MAX])
    return tuple(dict.fromkeys(name for name in named if 0 < len(name) <= NAME_MAX_CHARS))


def _name(entry: object) -> str:
    match entry:
        case str():
            return entry
        case {"id": str(name)} | {"name": str(name)} | {"model": str(name)}:
            return name
        case _:
            return ""
