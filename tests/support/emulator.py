"""A terminal emulator: computes the visible text from written characters. It supports the VT100 codes that we use."""

import re

from rich.cells import cell_len

_PIECE = re.compile(r"\x1b\[(?P<numbers>[0-9;?]*)(?P<code>[@-~])|\x1b[78=>]|(?P<text>[\s\S])")


class Emulator:
    """A terminal with a fixed width and unlimited height, so that no text scrolls away."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._rows: list[list[str]] = [[]]
        self._wrapped: set[int] = set()
        self._row = 0
        self._column = 0

    def write(self, written: str) -> "Emulator":
        for piece in _PIECE.finditer(written):
            if piece["text"]:
                self._character(piece["text"])
            elif piece["code"]:
                self._control(piece["code"], piece["numbers"])
        return self

    @property
    def lines(self) -> list[str]:
        """Returns the lines as copied from a terminal: a wrapped line is one line."""
        lines: list[str] = []
        for number, cells in enumerate(self._rows):
            text = "".join(cells)
            if number in self._wrapped:
                lines[-1] += text
            else:
                lines.append(text)
        return [line.rstrip() for line in lines]

    @property
    def text(self) -> str:
        return "\n".join(self.lines).rstrip("\n")

    def _character(self, character: str) -> None:
        match character:
            case "\n":
                self._to(self._row + 1, self._column)
                self._column = 0  # as the tty driver has it: a line end is CR and LF
            case "\r":
                self._column = 0
            case "\b":
                self._column = max(0, self._column - 1)
            case _ if character.isprintable():
                self._print(character)

    def _print(self, character: str) -> None:
        width = cell_len(character)
        if self._column + width > self._columns:
            self._to(self._row + 1, 0)
            self._wrapped.add(self._row)
        row = self._rows[self._row]
        row += [" "] * (self._column + width - len(row))
        row[self._column : self._column + width] = [character] + [""] * (width - 1)
        self._column += width

    def _control(self, code: str, numbers: str) -> None:
        first = int(numbers) if numbers.isdigit() else 0
        row = self._rows[self._row]
        match code:
            case "A":
                self._to(self._row - (first or 1), self._column)
            case "B":
                self._to(self._row + (first or 1), self._column)
            case "C":
                self._column = min(self._column + (first or 1), self._columns - 1)
            case "D":
                self._column = max(0, min(self._column, self._columns - 1) - (first or 1))
            case "K":
                del row[0 if first == 2 else self._column :]
            case "J":
                del row[self._column :]
                del self._rows[self._row + 1 :]
            case _:
                pass

    def _to(self, row: int, column: int) -> None:
        self._row, self._column = max(0, row), column
        while len(self._rows) <= self._row:
            self._rows.append([])
