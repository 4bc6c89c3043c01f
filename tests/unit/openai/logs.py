"""Logs for the translators: written by hand, or drawn by Hypothesis as workers write them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from app.domain.cursor import Cursor
from app.domain.events import Done, Entry, Event, Mark, Reasoning, Refusal, Snapshot, Token, Tool, encode
from app.domain.transcript import Transcript, digest

MESSAGE = "0193f5c1-d2a4-7b3e-8c9d-0e1f2a3b4c5d"
GENERATION = "0193f5c1-d2a4-7b3e-8c9d-0e1f2a3b4c5e"
USAGE = {"input_tokens": 3, "output_tokens": 5, "reasoning_tokens": 1, "cached_tokens": 2}


def base(**changes: Any) -> dict[str, Any]:
    """A short form of what request_mapping.base returns."""
    return {
        "id": "resp_0193f5c1d2a47b3e8c9d0e1f2a3b4c5e",
        "object": "response",
        "created_at": 1760000000,
        "status": None,
        "background": True,
        "error": None,
        "incomplete_details": None,
        "model": "offline",
        "output": [],
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "usage": None,
        **changes,
    }


def log(*revisions: list[Event]) -> list[Entry]:
    """The entries of these revisions, in order."""
    return [
        Entry(Cursor(epoch, n), encode(event))
        for epoch, revision in enumerate(revisions, 1)
        for n, event in enumerate(revision)
    ]


def done(text: str, status: Any = "completed", reason: str | None = "stop", error: Any = None) -> Done:
    return Done(status, reason, USAGE, digest(text), error)


_ANEW = st.sampled_from(["restart", "failover"])
_TEXT = st.text(alphabet='ab \n"\\é日🙂\x01', min_size=1, max_size=4)
_PIECE = st.one_of(_TEXT.map(Token), _TEXT.map(Token), _TEXT.map(Reasoning), st.just(Refusal()))
_CALL = st.builds(
    Tool,
    st.sampled_from(["call_1", "call_2"]),
    st.just("add"),
    st.sampled_from(["started", "started", "finished", "failed"]),
    st.sampled_from(["", '{"a":1}']),
)


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """A whole log of workers: any number of takeovers, restarts with equal or other text, any end."""
    said = Transcript()
    entries: list[Entry] = []

    def write(revision: list[Event]) -> None:
        epoch = entries[-1].cursor.epoch + 1 if entries else 1
        for n, event in enumerate(revision):
            cursor = Cursor(epoch, n)
            said.add(cursor, event)
            entries.append(Entry(cursor, encode(event)))

    write([Snapshot("", "start", 1), *draw(st.lists(_PIECE, max_size=5))])
    for attempt in range(2, 2 + draw(st.integers(0, 3))):
        write(_revision(draw, said, attempt))
    _end(draw, said, entries, write)
    return entries


def _revision(draw: st.DrawFn, said: Transcript, attempt: int) -> list[Event]:
    pieces: list[Event] = draw(st.lists(_PIECE, max_size=5))
    if draw(st.booleans()):
        reason = draw(st.sampled_from(["continue", "failover"]))
        return [Snapshot(said.text, reason, attempt, said.reasoning), *pieces]
    if draw(st.booleans()):
        # A takeover begins with the text that the stores have kept: less than was shown, or more.
        kept = draw(st.sampled_from([said.text[: len(said.text) // 2], said.text + draw(_TEXT)]))
        thought = draw(st.sampled_from([said.reasoning, said.reasoning + draw(_TEXT)]))
        return [Snapshot(kept, "takeover", attempt, thought), *pieces]
    if draw(st.booleans()):
        # A restarted model may send equal text again, in other pieces, and perhaps more text behind it.
        again: list[Event] = [Reasoning(said.reasoning)] if said.reasoning else []
        again += [Token(said.text)] if said.text else []
        return [Snapshot("", draw(_ANEW), attempt), *again, *pieces]
    return [Snapshot("", draw(_ANEW), attempt), *pieces]


def _end(draw: st.DrawFn, said: Transcript, entries: list[Entry], write: Any) -> None:
    status = draw(st.sampled_from(["completed", "error", "cancelled"]))
    attempt = said.attempt
    if status == "cancelled":
        snapshot = Snapshot(said.text, "cancel", attempt, said.reasoning)
        write([snapshot, done(said.text, "cancelled", "cancelled")])
        return
    reason = draw(st.sampled_from(["stop", "length", "content_filter", "tool_calls"]))
    opening = Snapshot(said.text, "takeover", attempt, said.reasoning)
    if status == "error":
        write([opening, done(said.text, "error", "error", {"code": "upstream_error", "message": "It failed."})])
        return
    calls: list[Event] = list(draw(st.lists(_CALL, max_size=2, unique_by=lambda call: call.call_id)))
    write([opening, *calls, Mark(reason, USAGE), done(said.text, "completed", reason)])
