"""Going on with a text that breaks off: what to send of it, and what to drop of what comes back. Pure."""

_ECHO_MIN_CHARS = 16
"""Longer than a token: what repeats a shorter text may be its natural continuation, as in "ha" and "ha"."""


class Continuation:
    """The seam between a prefill and what follows it.

    Servers differ in two ways that would show at the seam as doubled text:

    - Some (llama.cpp without `continue_final_message`, vLLM with `echo`) begin with the prefill itself.
      The echo comes in one piece, while a model that repeats itself does so token by token: so only a
      first piece that holds the whole prefill is taken for an echo.
    - Anthropic refuses a prefill that ends in white space, and many chat templates trim it. So it is never
      sent, and if the model writes it again, it is dropped here: what the reader has already seen
      stays, and the next word is neither glued to the last one nor set off twice.
    """

    def __init__(self, prefill: str) -> None:
        self.sent = prefill.rstrip()
        """What belongs into the request; empty if there is nothing to go on with."""
        self._echo = self.sent if len(self.sent) >= _ECHO_MIN_CHARS else ""
        self._space = prefill[len(self.sent) :]

    def after(self, text: str) -> str:
        """What is new in the next piece of text: pieces have to come in order, and all of them."""
        if not text:
            return text
        if self._echo:
            text = text.removeprefix(self._echo)
            self._echo = ""
        while text and self._space:
            if text[0] == self._space[0]:
                text, self._space = text[1:], self._space[1:]
            else:
                self._space = ""
        return text
