"""Examples for the OpenAPI document: one small conversation, which a test plays against a real system."""

from typing import Any

from shared.domain import subjects
from shared.domain.subjects import ChatId

Examples = dict[str, Any]

CHAT = "0198c5a2-7d3e-7c41-9a55-3f1f2b7c9d10"
_FIRST = "0198c5a2-8f00-7b12-8c4e-5d6a7b8c9d0e"
MESSAGE = str(subjects.message_id(ChatId(CHAT), _FIRST))
ANSWER = str(subjects.answer_id(ChatId(CHAT), _FIRST))


def _example(summary: str, value: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"summary": summary, "value": value}


CREATE_CHAT: Examples = {
    "own-id": _example(
        "With an id of the client: the call can be repeated safely",
        {"id": CHAT, "system": "You are brief.", "metadata": {"colour": "green"}},
    ),
    "plain": _example("An empty chat", {}),
}
POST_MESSAGE: Examples = {
    "question": _example("A question", {"id": _FIRST, "content": "What outlives a process?"}),
    "reply": _example(
        "A reply to a given answer, in parts",
        {
            "content": [
                {"type": "text", "text": "And what outlives"},
                {"type": "text", "text": "a machine?"},
            ],
            "parent_id": ANSWER,
            "params": {"temperature": 0.2, "max_output_tokens": 200, "stop": ["\n\n\n"]},
        },
    ),
    "edit": _example(
        "The first question, edited: a sibling of the first message",
        {"content": "What outlives a machine?", "parent_id": None, "metadata": {"edit": True}},
    ),
}
REGENERATE: Examples = {
    "same": _example("With the same model", {}),
    "bolder": _example("With other parameters", {"params": {"temperature": 1.2, "seed": 7}}),
}
CHANGE_CHAT: Examples = {
    "rename": _example("Rename", {"title": "What outlives what"}),
    "archive": _example("Archive", {"archived": True}),
    "metadata": _example("Replace all metadata", {"metadata": {"colour": "blue"}}),
}


def parameter_example(value: Any) -> Examples:  # noqa: ANN401 - JSON
    """Returns the `openapi_examples` of a parameter with one example."""
    return {"example": {"value": value}}


ANSWER_STREAM = """retry: 1000

event: started
data: {"attempt":1,"model":"demo/200x20ms"}

id: 1.1
event: token
data: {"text":"A"}

id: 1.2
event: token
data: {"text":" log"}

id: 1.end
event: done
data: {"status":"completed","finish_reason":"stop","usage":{"input_tokens":4,"output_tokens":2},"last_index":2,"cursor":"c3"}

"""
FEED = f"""retry: 1000

id: c2
event: message-requested
data: {{"chat":"{CHAT}","message":"{MESSAGE}","answer":"{ANSWER}"}}

event: answer-started
data: {{"chat":"{CHAT}","answer":"{ANSWER}","attempt":1,"model":"demo/200x20ms"}}

"""
