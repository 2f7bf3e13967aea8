"""Continues a text after a prefill: trims the prefill for the request, and drops repeated text from the reply. Pure."""

_ECHO_MIN_CHARS = 16
"""Longer than a token: a shorter repetition may be the natural continuation, as in "ha" and "ha"."""


class Continuation:
    """Joins a prefill and the text that follows it, for one attempt.

    Servers differ in two ways that would duplicate text:

    - Some (llama.cpp without `continue_final_message`, vLLM with `echo`) begin with the prefill itself.
      The echo comes in one piece, while a model repeats itself token by token: so only a first piece that
      holds the whole prefill counts as an echo.
    - Anthropic rejects a prefill that ends in white space, and many chat templates trim it. So the white space
      is never sent, and dropped if the model writes it again: the space that readers already have is neither
      lost nor doubled.
    """

    def __init__(self, prefill: str) -> None:
        self.prefill = prefill.rstrip()
        """The prefill to send, without trailing white space; empty if there is nothing to continue."""
        self._echo = self.prefill if len(self.prefill) >= _ECHO_MIN_CHARS else ""
        self._space = prefill[len(self.prefill) :]

    def drop_overlap(self, text: str) -> str:
        """Returns the new part of the next piece of text. Expects all pieces, in order."""
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
