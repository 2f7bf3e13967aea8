"""Builds the prompt for a model from the facts of a branch, trimmed to the model's context window. Pure."""

from collections.abc import Iterable

from msgspec import Struct

from services.generator.providers import Prompt, PromptMessage
from shared.domain.events import (
    AnswerEnded,
    AnswerRequest,
    Content,
    Fact,
    MessageRequested,
)

_BYTES_PER_TOKEN = 3
"""A low estimate: English has about 4 bytes per token, Chinese about 3. It is better to leave out a message too many."""
_TOKENS_PER_MESSAGE = 8


class Trimmed(Struct, frozen=True):
    """A prompt, and the number of the branch's oldest messages that it leaves out for lack of room."""

    prompt: Prompt
    left_out: int


def build(
    request: AnswerRequest,
    context: Iterable[Fact],
    *,
    model: str,
    prefill: str = "",
    context_tokens: int,
    output_tokens: int,
) -> Trimmed:
    """Returns the system prompt, the newest message, and as many of the messages before it as fit."""
    said = [message for fact in context if (message := _said(fact))]
    if isinstance(request, MessageRequested):
        said.append(PromptMessage("user", text_of(request.content)))
    room = context_tokens - min(output_tokens, context_tokens // 2)
    room -= _tokens(request.instructions or "") + _tokens(prefill)
    kept: list[PromptMessage] = []
    for message in reversed(said):
        room -= _tokens(message.text) + _TOKENS_PER_MESSAGE
        if room < 0 and kept:
            break
        kept.append(message)
    while len(kept) > 1 and kept[-1].role == "assistant":  # A conversation begins with the user.
        kept.pop()
    prompt = Prompt(
        model=model,
        messages=_alternating(reversed(kept)),
        system=request.instructions,
        params=request.params,
        prefill=prefill,
    )
    return Trimmed(prompt, len(said) - len(kept))


def text_of(content: Content) -> str:
    return "\n".join(part.text for part in content)


def _said(fact: Fact) -> PromptMessage | None:
    match fact:
        case MessageRequested():
            return PromptMessage("user", text_of(fact.content))
        case AnswerEnded() if fact.text:
            return PromptMessage("assistant", fact.text)
        case _:
            return None


def _alternating(messages: Iterable[PromptMessage]) -> tuple[PromptMessage, ...]:
    """Joins neighbours of the same role, which follow from an answer without text: some providers reject them."""
    joined: list[PromptMessage] = []
    for message in messages:
        if joined and joined[-1].role == message.role:
            joined[-1] = PromptMessage(message.role, f"{joined[-1].text}\n\n{message.text}")
        else:
            joined.append(message)
    return tuple(joined)


def _tokens(text: str) -> int:
    return len(text.encode()) // _BYTES_PER_TOKEN + 1
