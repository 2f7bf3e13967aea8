"""The result of a run as tables."""

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct

from infra.chaos.checker import Checker, FoldedAnswer
from infra.chaos.faults import Window
from infra.chaos.schedule import Kind
from infra.chaos.witness import Call, Finding, Witness

PROMISED = 0.999
CALM = "calm"
FINDINGS_SHOWN = 40


class Report(Struct):
    """The result of one run. `text` renders it."""

    seed: int
    seconds: float
    windows: list[Window]
    unexpected_exits: list[str]
    witness: Witness
    checker: Checker

    @property
    def findings(self) -> list[Finding]:
        return self.checker.findings

    def text(self) -> str:
        """Returns the whole report as Markdown tables and lines."""
        parts = [
            self._faults(),
            self._answers(),
            self._availability(),
            self._unexpected_exits(),
            self._findings(),
        ]
        return "\n\n".join(part for part in parts if part)

    def _faults(self) -> str:
        counts = Counter(window.kind for window in self.windows)
        rows = [(kind.value, str(counts[kind])) for kind in Kind] + [("all", str(len(self.windows)))]
        return f"seed {self.seed}, {self.seconds:.0f} s\n\n" + _table(("fault", "times"), rows)

    def _answers(self) -> str:
        seen, folded = self.witness.seen, self.checker.folded.values()
        kinds = Counter(finding.kind for finding in self.findings)
        statuses = self.checker.statuses
        ends = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
        rows = [
            ("answers accepted (202)", str(len(self.witness.asked))),
            ("ended", f"{statuses.total()} ({ends})"),
            ("chats deleted", str(len(self.witness.gone))),
            ("token events in the log", str(sum(one.tokens for one in folded))),
            ("readers", str(len(seen))),
            ("token events read", str(sum(one.tokens for one in seen))),
            ("resumes (with a cursor)", str(sum(one.resumes for one in seen))),
            ("snapshots", str(sum(one.snapshots for one in seen))),
            ("takeovers after a crash", str(sum(_crashes(one) for one in folded))),
            ("handovers", str(sum(one.handed_over for one in folded))),
            (
                "longest silence of a reader",
                f"{max((one.longest_silence_seconds for one in seen), default=0):.1f} s",
            ),
            *((kind, str(kinds[kind])) for kind in ("lost", "doubled", "wrong")),
        ]
        return _table(("event", "count"), rows)

    def _availability(self) -> str:
        names = [CALM, *(kind.value for kind in Kind)]
        calls = group_by_window(self.witness.calls, self.windows)
        operations = group_by_window(self.witness.operations, self.windows)
        rows = [_shares(name, calls.get(name, []), operations.get(name, [])) for name in names]
        rows.append(_shares("all", self.witness.calls, self.witness.operations))
        head = ("calls during", "calls", "right in 1.5 s", "POST", "GET", "stream", "with retries")
        promised = f"Availability (objective: {PROMISED:.1%}):\n\n"
        return promised + _table(head, rows) + self._failed_in_the_calm(calls.get(CALM, []))

    def _failed_in_the_calm(self, calm: Sequence[Call]) -> str:
        failed = [call for call in calm if not call.right]
        begun = [window.began for window in self.windows]
        caught = sum(any(one.began <= at <= one.began + one.seconds for at in begun) for one in failed)
        return f"\n\n{len(failed)} calls failed in calm times; {caught} of them were in progress when a fault began."

    def _unexpected_exits(self) -> str:
        return (
            "\n".join(["Processes that ended by themselves:", *self.unexpected_exits])
            if self.unexpected_exits
            else ""
        )

    def _findings(self) -> str:
        if not self.findings:
            return "No findings: nothing is lost, doubled or wrong."
        shown = [f"{finding.kind}: {finding.what}" for finding in self.findings[:FINDINGS_SHOWN]]
        return "\n".join([f"{len(self.findings)} findings:", *shown])


def group_by_window(calls: Iterable[Call], windows: Sequence[Window]) -> dict[str, list[Call]]:
    """Groups calls by the kind of the newest fault in whose window they began, or as calm if there is none."""
    ordered = sorted(windows, key=lambda window: window.began, reverse=True)
    found: dict[str, list[Call]] = {}
    for call in calls:
        window = next((one for one in ordered if one.began <= call.began <= one.ended), None)
        found.setdefault(window.kind.value if window else CALM, []).append(call)
    return found


def _shares(name: str, calls: Sequence[Call], operations: Sequence[Call]) -> tuple[str, ...]:
    kinds = [_share([call for call in calls if call.kind == kind]) for kind in ("POST", "GET", "stream")]
    return name, str(len(calls)), _share(calls), *kinds, _share(operations)


def _share(calls: Sequence[Call]) -> str:
    return f"{sum(call.right for call in calls) / len(calls):.2%}" if calls else "-"


def _crashes(folded: FoldedAnswer) -> int:
    return max(0, folded.starts - 1 - folded.handed_over)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = "|".join("-" * (width + 1) + (":" if place else "-") for place, width in enumerate(widths))
    return "\n".join([line(head), f"|{rule}|", *(line(row) for row in rows)])
