"""Compares the log, the database and the clients' records. Pure; it shares no decoding of events with the services.

Every finding is a violation of one kind. `lost`: something that was acknowledged or shown is missing. `doubled`: it
exists more than once. `wrong`: it exists with different content.
"""

from collections import Counter
from typing import Any

from msgspec import Struct

from infra.chaos.evidence import Event, Evidence
from infra.chaos.witness import Finding, Witness
from services.generator.providers import Prompt, PromptMessage, demo
from shared.domain.subjects import chat_of

ENDS = {
    "answer-completed.v1": "completed",
    "answer-failed.v1": "failed",
    "answer-cancelled.v1": "cancelled",
}
SHOWN_CHARS = 60
REQUESTS = {"message-requested.v1", "answer-requested.v1"}


class FoldedAnswer(Struct):
    """The events of one answer, folded by this checker."""

    text: str = ""
    last_index: int = 0
    attempt: int = 0
    starts: int = 0
    handed_over: int = 0
    ends: int = 0
    tokens: int = 0


class Checker:
    """Checks one run. Call `check` once; `findings` and `folded` are the result."""

    def __init__(self, evidence: Evidence, witness: Witness) -> None:
        self._evidence = evidence
        self._witness = witness
        self.findings: list[Finding] = list(witness.findings)
        self.folded: dict[str, FoldedAnswer] = {}
        self.statuses: Counter[str] = Counter()
        self._requests: dict[str, Event] = {}
        self._ends: dict[str, list[Event]] = {}

    def check(self) -> None:
        """Appends every violation to `findings`."""
        for answer, events in self._evidence.tokens.items():
            self.folded[answer] = self._fold(answer, events)
        for chat, facts in self._evidence.facts.items():
            self._sort_facts(chat, facts)
        self._check_promises()
        for answer, request in self._requests.items():
            self._check_answer(answer, request)
        self._check_readers()
        self._check_deleted()
        self._check_tables()

    def _report_lost(self, what: str) -> None:
        self.findings.append(Finding("lost", what))

    def _report_doubled(self, what: str) -> None:
        self.findings.append(Finding("doubled", what))

    def _report_wrong(self, what: str) -> None:
        self.findings.append(Finding("wrong", what))

    # --- the log -----------------------------------------------------------------------------------------

    def _fold(self, answer: str, events: list[Event]) -> FoldedAnswer:
        state = FoldedAnswer()
        for event in events:
            where = f"{answer} at sequence {event['sequence']}"
            if state.ends:
                self._report_doubled(f"{where}: {event['type']} follows the end")
            if event["type"] == "generation-started.v1":
                if event["attempt"] != state.attempt + 1:
                    self._report_wrong(f"{where}: attempt {event['attempt']} follows {state.attempt}")
                state.attempt, state.starts = event["attempt"], state.starts + 1
            elif event["attempt"] != state.attempt:
                self._report_wrong(
                    f"{where}: an event of attempt {event['attempt']} in attempt {state.attempt}"
                )
            self._fold_event(where, state, event)
        return state

    def _fold_event(self, where: str, state: FoldedAnswer, event: Event) -> None:
        match event["type"]:
            case "token-emitted.v1":
                if event["index"] != state.last_index + 1:
                    kind = self._report_doubled if event["index"] <= state.last_index else self._report_lost
                    kind(f"{where}: index {event['index']} follows {state.last_index}")
                state.last_index, state.tokens = event["index"], state.tokens + 1
                state.text += event.get("text", "")
            case "generation-reset.v1":
                state.text = ""
            case "generation-handed-over.v1":
                state.handed_over += 1
            case "generation-ended.v1":
                state.ends += 1
                if event["last_index"] != state.last_index:
                    self._report_wrong(
                        f"{where}: ended at {event['last_index']}, the last index is {state.last_index}"
                    )

    def _sort_facts(self, chat: str, facts: list[Event]) -> None:
        ids = Counter(fact["id"] for fact in facts)
        for id_, count in ids.items():
            if count > 1:
                self._report_doubled(f"fact {id_} occurs {count} times")
        for fact in facts:
            if fact["chat"] != chat:
                self._report_wrong(f"fact {fact['id']} of {fact['chat']} has a subject of {chat}")
            if fact["type"] in REQUESTS:
                self._requests[fact["answer"]] = fact
            elif fact["type"] in ENDS:
                self._ends.setdefault(fact["answer"], []).append(fact)

    def _check_promises(self) -> None:
        for answer, asked in self._witness.asked.items():
            if answer not in self._requests and asked.chat not in self._witness.deleted:
                self._report_lost(f"{answer}: accepted with 202, but its request is not in the log")
        for answer in self._requests.keys() - self._witness.attempted:
            self._report_wrong(f"{answer}: no client requested it")
        for answer in self._ends.keys() - self._requests.keys():
            self._report_wrong(f"{answer}: has an end without a request")

    def _check_answer(self, answer: str, request: Event) -> None:
        ends = self._ends.get(answer, [])
        if not ends:
            self._report_lost(f"{answer}: no end")
            return
        if len(ends) > 1:
            self._report_doubled(f"{answer}: {len(ends)} ends")
        end, folded = ends[0], self.folded.get(answer, FoldedAnswer())
        status = ENDS[end["type"]]
        self.statuses[status] += 1
        if folded.ends != 1:
            kind = self._report_doubled if folded.ends else self._report_lost
            kind(f"{answer}: {folded.ends} GenerationEnded events")
        if end["text"] != folded.text:
            self._report_wrong(
                f"{answer}: the fact has {_short(end['text'])}, its tokens {_short(folded.text)}"
            )
        if end["last_index"] != folded.last_index or end["attempt"] != folded.attempt:
            self._report_wrong(f"{answer}: the attempt or index of the fact differs from its tokens")
        expected = self._expected_text(request)
        if end["text"] != expected and (status == "completed" or not expected.startswith(end["text"])):
            self._report_wrong(f"{answer}: {status} with {_short(end['text'])}, not {_short(expected)}")

    def _expected_text(self, request: Event) -> str:
        """Returns the demo's text for the last message. Messages whose answer has no text are joined with the next."""
        said: list[str] = []
        one: Event | None = self._message(request)
        while one is not None:
            said.append("\n".join(part["text"] for part in one["content"]))
            parent = one.get("parent")
            ends = self._ends.get(parent, []) if parent else []
            one = self._message(self._requests[parent]) if ends and parent and not ends[0]["text"] else None
        prompt = (PromptMessage("user", "\n\n".join(reversed(said))),)
        model = request["model"].partition("/")[2]
        return "".join(demo.tokens(Prompt(model=model, messages=prompt)))

    def _message(self, request: Event) -> Event:
        if request["type"] == "message-requested.v1":
            return request
        facts = self._evidence.facts[request["chat"]]
        return next(fact for fact in facts if fact.get("id") == request["message"])

    # --- what clients saw --------------------------------------------------------------------------------

    def _check_readers(self) -> None:
        for seen in self._witness.seen:
            if seen.gone or chat_of(seen.answer) in self._witness.deleted:
                continue
            ends = self._ends.get(seen.answer, [])
            if not seen.status:
                self._report_lost(f"{seen.answer}: a reader received no end, at index {seen.last_index}")
            elif not ends:
                self._report_lost(f"{seen.answer}: a reader received an end that is not in the log")
            elif seen.text != ends[0]["text"] or seen.status != ENDS[ends[0]["type"]]:
                self._report_wrong(
                    f"{seen.answer}: a reader has {_short(seen.text)}, the log {_short(ends[0]['text'])}"
                )

    def _check_deleted(self) -> None:
        for chat in self._witness.gone:
            left = [fact["type"] for fact in self._evidence.facts.get(chat, [])]
            if left != ["chat-deleted.v1"]:
                self._report_wrong(f"deleted chat {chat} has {left}")
            tokens = [answer for answer in self._evidence.tokens if answer.startswith(chat)]
            if tokens:
                self._report_wrong(f"deleted chat {chat} has tokens of {tokens}")
            if chat in self._evidence.chats:
                self._report_wrong(f"deleted chat {chat} is in Postgres")

    # --- the tables ----------------------------------------------------------------------------------------

    def _check_tables(self) -> None:
        evidence = self._evidence
        if evidence.checkpoint != evidence.last:
            self._report_lost(f"Postgres is at {evidence.checkpoint}, the log at {evidence.last}")
        if evidence.unacknowledged:
            self._report_wrong(f"the queue has not acknowledged request {evidence.unacknowledged}")
        answers = {id_: row for id_, row in evidence.messages.items() if row["role"] == "assistant"}
        for answer in self._requests.keys() - answers.keys():
            self._report_lost(f"{answer} is not in Postgres")
        for answer, row in answers.items():
            self._check_row(answer, row)
        for chat in evidence.chats.keys() - evidence.facts.keys():
            self._report_wrong(f"chat {chat} is in Postgres, but not in the log")

    def _check_row(self, answer: str, row: dict[str, Any]) -> None:
        if row["status"] == "running":
            self._report_lost(f"{answer} is still generating in Postgres")
            return
        ends = self._ends.get(answer)
        if not ends:
            self._report_wrong(f"{answer} is {row['status']} in Postgres, but has no end in the log")
            return
        end = ends[0]
        same = {"text": end["text"], "last_index": end["last_index"], "ended": end["sequence"]}
        if row["status"] != ENDS[end["type"]] or any(row[name] != value for name, value in same.items()):
            self._report_wrong(
                f"{answer}: Postgres has {row['status']} {_short(row['text'])}, which differs from the log"
            )


def _short(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARS else f"{text[:20]}…{text[-40:]}") + f" ({len(text)})"
