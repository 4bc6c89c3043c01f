"""The chunks of a chat completion: for each log they add up to its answer, or end with an error."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.openai.chat_chunks import ChatTranslator, completion
from app.domain.events import Entry, Reasoning, Refusal, Snapshot, Token, decode
from app.domain.transcript import Transcript
from tests.unit.openai.logs import done, log, logs

BASE = {"id": "chatcmpl-1", "created": 1760000000, "model": "offline"}
START = Snapshot("", "start", 1)


def stream(entries: list[Entry], *, include_usage: bool = False) -> list[bytes]:
    """The bytes of the opening and of each entry."""
    translator = ChatTranslator(BASE, include_usage=include_usage)
    return [translator.opening(), *(translator.render(cursor, payload) for cursor, payload in entries)]


def chunks(pieces: list[bytes]) -> list[dict[str, Any]]:
    """The chunks as objects; the end of the stream is ``{"done": True}``."""
    found: list[dict[str, Any]] = []
    for block in b"".join(pieces).split(b"\n\n")[:-1]:
        data = block.removeprefix(b"data: ")
        assert data != block
        found.append({"done": True} if data == b"[DONE]" else orjson.loads(data))
    return found


class Received:
    """The message that a client puts together from the chunks, as the SDKs do."""

    def __init__(self, told: list[dict[str, Any]]) -> None:
        deltas = [chunk["choices"][0] for chunk in told if chunk.get("choices")]
        # A refusal stands in the place of the text.
        names = ("content", "refusal")
        self.text = "".join(each["delta"].get(name) or "" for each in deltas for name in names)
        self.reasoning = "".join(each["delta"].get("reasoning_content") or "" for each in deltas)
        self.calls = [call for each in deltas for call in each["delta"].get("tool_calls", [])]
        self.reasons = [each["finish_reason"] for each in deltas if each["finish_reason"]]
        self.errors = [chunk["error"] for chunk in told if "error" in chunk]


@settings(deadline=None)
@given(logs(), st.booleans())
def test_a_stream_that_finishes_is_the_answer_and_every_other_one_ends_with_an_error(
    entries: list[Entry], include_usage: bool
) -> None:
    told = chunks(stream(entries, include_usage=include_usage))
    assert [chunk.get("done", False) for chunk in told] == [False] * (len(told) - 1) + [True]
    received, said = Received(told), Transcript.of(entries)
    assert said.done is not None
    if received.errors:
        assert (len(received.errors), received.reasons) == (1, [])
        assert "error" in told[-2], "something follows the error"
        return
    assert said.done.status == "completed"
    whole = completion(BASE, said)["choices"][0]
    assert (received.text, received.reasoning) == (said.text, said.reasoning)
    for_client = [call_id for call_id, call in said.tools.items() if call.state == "started"]
    assert [call["id"] for call in received.calls] == for_client
    assert for_client == [call["id"] for call in whole["message"].get("tool_calls", [])]
    assert received.reasons == [whole["finish_reason"]]
    assert sum("usage" in chunk and not chunk["choices"] for chunk in told[:-1]) == include_usage


def goes_on(entries: list[Entry]) -> bool:
    """True when each revision begins with the whole text shown before it."""
    said = Transcript()
    for cursor, payload in entries:
        event = decode(payload)
        if isinstance(event, Snapshot) and not (
            event.text.startswith(said.text) and event.reasoning.startswith(said.reasoning)
        ):
            return False
        said.add(cursor, event)
    return True


@settings(deadline=None)
@given(logs())
def test_an_answer_that_goes_on_in_each_revision_has_no_error(entries: list[Entry]) -> None:
    said = Transcript.of(entries)
    if goes_on(entries) and said.done is not None and said.done.status == "completed":
        assert Received(chunks(stream(entries))).errors == []


@settings(deadline=None)
@given(logs(), st.data())
def test_cut_anywhere_a_second_reader_gets_the_bytes_of_the_first(entries: list[Entry], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(entries)))
    assert stream(entries)[: cut + 1] == stream(entries[:cut])


def test_reasoning_after_text_keeps_its_place_in_both_sums() -> None:
    entries = log(
        [START, Token("One. "), Reasoning("Hm.")],
        [Snapshot("One. ", "continue", 2, "Hm."), Reasoning(" So."), Token("Two."), done("One. Two.")],
    )
    received = Received(chunks(stream(entries)))
    assert (received.text, received.reasoning, received.errors) == ("One. Two.", "Hm. So.", [])


def test_a_refusal_is_sent_as_one() -> None:
    entries = log([START, Refusal(), Token("I "), Token("cannot."), done("I cannot.")])
    told = chunks(stream(entries))
    deltas = [chunk["choices"][0]["delta"] for chunk in told if chunk.get("choices")]
    assert "".join(delta.get("refusal") or "" for delta in deltas) == "I cannot."
    assert "".join(delta.get("content") or "" for delta in deltas) == ""
    message = completion(BASE, Transcript.of(entries))["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == (None, "I cannot.")


def test_an_answer_after_a_refusal_that_was_begun_anew_is_an_answer() -> None:
    entries = log([START, Refusal()], [Snapshot("", "restart", 2), Token("Yes."), done("Yes.")])
    assert Received(chunks(stream(entries))).text == "Yes."
    message = completion(BASE, Transcript.of(entries))["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == ("Yes.", None)
