"""Whole transcripts, byte for byte, as a person has checked them: golden/<name>.sse.

A change of one is a change of the contract. `python -m tests.unit.openai.test_golden` writes them anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from app.api.openai.chat_chunks import ChatTranslator
from app.domain.events import Entry, Mark, Reasoning, Snapshot, Token, Tool
from tests.unit.openai.frames import stream
from tests.unit.openai.logs import USAGE, done, log

HERE = Path(__file__).parent / "golden"
START = Snapshot("", "start", 1)
FAILED = {"code": "upstream_unavailable", "message": "The upstream does not answer."}
CALL = Tool("call_7", "add", "started", '{"a":1,"b":2}')

LOGS: dict[str, list[Entry]] = {
    "text": log([START, Token("Hel"), Token('lo "wörld"\n🙂'), Mark("stop", USAGE), done('Hello "wörld"\n🙂')]),
    "reasoning": log([START, Reasoning("Hm. "), Reasoning("So."), Token("Yes."), Mark("stop", USAGE), done("Yes.")]),
    "tools": log(
        [START, Token("Let me see."), CALL, Mark("tool_calls", USAGE), done("Let me see.", reason="tool_calls")]
    ),
    "failure": log([START, Token("Hel")], [Snapshot("Hel", "takeover", 1), done("Hel", "error", "error", FAILED)]),
    "cancellation": log([START, Token("Hel")], [Snapshot("Hel", "cancel", 1), done("Hel", "cancelled", "cancelled")]),
    "incompleteness": log([START, Token("Hel"), Mark("length", USAGE), done("Hel", reason="length")]),
    "takeover": log(
        [START, Token("Hel")], [Snapshot("Hel", "continue", 2), Token("lo"), Mark("stop", USAGE), done("Hello")]
    ),
    "another_answer": log([START, Token("Hel")], [Snapshot("", "restart", 2), Token("Good day"), done("Good day")]),
}


def chat(entries: list[Entry]) -> bytes:
    telling = ChatTranslator({"id": "chatcmpl-1", "created": 1760000000, "model": "offline"}, include_usage=True)
    return telling.opening() + b"".join(telling.render(cursor, payload) for cursor, payload in entries)


@pytest.mark.parametrize("name", LOGS)
def test_responses_stream_is_as_it_was(name: str) -> None:
    assert stream(LOGS[name]) == (HERE / f"responses_{name}.sse").read_bytes()


@pytest.mark.parametrize("name", LOGS)
def test_chat_stream_is_as_it_was(name: str) -> None:
    assert chat(LOGS[name]) == (HERE / f"chat_{name}.sse").read_bytes()


if __name__ == "__main__":
    for case, entries in LOGS.items():
        (HERE / f"responses_{case}.sse").write_bytes(stream(entries))
        (HERE / f"chat_{case}.sse").write_bytes(chat(entries))
