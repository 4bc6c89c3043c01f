"""The log of a generation as the event stream of OpenAI's Responses API. Pure: no clock, no input or output.

``sequence_number`` counts what has been emitted since the beginning of the log, so it is the same for every reader
and for ever. Whoever resumes folds the log from its start and emits only what is past ``after``.

Where the protocols differ (docs/clients/responses.md):
- OpenAI has no reset. A restarted answer that says something else than what was shown closes the item shown so far
  as ``incomplete`` and goes on in a new one; deltas still add up to the output that is kept.
- Nothing says "cancelled" there but the status: the stream ends with ``response.incomplete``.
- Tool calls are told at the end, when they are final: a call that a retry replaces must not have been seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from app.api.openai import ids
from app.api.openai.telling import Kind, Repetition
from app.domain.cursor import Cursor
from app.domain.events import Done, Reasoning, Snapshot, Token, Tool, decode

# How an encoded event of either kind begins; what follows up to the last brace is JSON text.
_TOKEN = b'{"type":"token","content":"'
_REASONING = b'{"type":"reasoning","content":"'
_NOTHING = -1

# A finish reason that means the answer is not whole, and what it is called here.
_CUT_SHORT = {"length": "max_output_tokens", "content_filter": "content_filter"}
# What this protocol calls our codes; everything else is its server_error.
_ERROR_CODES = {
    "upstream_rate_limited": "rate_limit_exceeded",
    "upstream_quota": "rate_limit_exceeded",
    "upstream_rejected": "invalid_prompt",
    "context_length": "invalid_prompt",
}
_TYPES: dict[Kind, str] = {"reasoning": "reasoning", "text": "message"}
_PARTS: dict[Kind, str] = {"reasoning": "reasoning_text", "text": "output_text"}


@dataclass(slots=True)
class _Item:
    """One output item. ``pieces`` are escaped JSON text, as the log has it; ``kind`` None: a tool call."""

    id: str
    index: int
    kind: Kind | None
    status: str = "in_progress"
    pieces: list[bytes] = field(default_factory=list)
    call: Tool | None = None
    # The delta's frame around sequence number, text, and sequence number again.
    head: bytes = b""
    middle: bytes = b""
    tail: bytes = b""

    @property
    def text(self) -> str:
        text: str = orjson.loads(b'"' + b"".join(self.pieces) + b'"')
        return text

    def part(self, text: str) -> dict[str, Any]:
        if self.kind == "reasoning":
            return {"type": "reasoning_text", "text": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def view(self, *, empty: bool = False) -> dict[str, Any]:
        """The item as the object shows it; ``empty``: as it was when it began."""
        if self.call is not None:
            return _call_view(self, "" if empty else self.call.arguments)
        content = [] if empty else [self.part(self.text)]
        if self.kind == "reasoning":
            return {"id": self.id, "type": "reasoning", "summary": [], "content": content, "status": self.status}
        return {"id": self.id, "type": "message", "role": "assistant", "status": self.status, "content": content}


def _call_view(item: _Item, arguments: str) -> dict[str, Any]:
    assert item.call is not None
    return {
        "id": item.id,
        "type": "function_call",
        "call_id": item.call.call_id,
        "name": item.call.tool,
        "arguments": arguments,
        "status": item.status,
    }


class ResponseTranslator:
    """Folds a log and says what the Responses stream says.

    ``base`` is the response object without what changes (asking.base); ``message_id`` is the answer's. Only events
    past ``after`` are put into words. ``retry`` is written in front of the first of them.
    """

    def __init__(
        self, base: dict[str, Any], message_id: str, *, after: int = _NOTHING, retry: bytes = b"", tells: bool = True
    ) -> None:
        self._base = base
        self._message_id = message_id
        self._after = after if tells else 2**62
        self._retry = retry
        self._sequence = 0
        self._items: list[_Item] = []
        self._open: _Item | None = None
        self._repetition: Repetition | None = None
        # Items that a diverging restart has replaced; what they said is not part of the answer any more.
        self._replaced = 0
        self._tools: dict[str, Tool] = {}
        self._begun = False
        self._status = "queued" if base["background"] else "in_progress"
        self._ending: dict[str, Any] = {}
        self._out: list[bytes] = []

    @property
    def last(self) -> int:
        """The sequence number of the last event so far."""
        return self._sequence - 1

    @property
    def ended(self) -> bool:
        """Whether the terminal event is out."""
        return bool(self._ending)

    def opening(self) -> bytes:
        """What is known before anything is in the log. Once, and first."""
        self._lifecycle("response.created")
        if self._base["background"]:
            self._lifecycle("response.queued")
        return self._taken()

    def render(self, cursor: Cursor, payload: bytes) -> bytes:
        """The next entry of the log as frames; empty when there is nothing to say about it."""
        item = self._open
        if item is not None and self._repetition is None:
            # The hot path: JSON text goes from frame to frame without being looked at.
            if item.kind == "text" and payload.startswith(_TOKEN):
                return self._delta(item, payload[27:-2])
            if item.kind == "reasoning" and payload.startswith(_REASONING):
                return self._delta(item, payload[31:-2])
        self._fold(payload)
        return self._taken()

    def response(self) -> dict[str, Any]:
        """The response object as of now."""
        shown = {"status": self._status, "output": [item.view() for item in self._items]}
        return {**self._base, **shown, **self._ending}

    # The log

    def _fold(self, payload: bytes) -> None:
        match decode(payload):
            case Snapshot() as snapshot:
                self._on_snapshot(snapshot)
            case Token(content):
                self._on_piece("text", content)
            case Reasoning(content):
                self._on_piece("reasoning", content)
            case Tool() as call:
                self._tools[call.call_id] = call
            case Done() as done:
                self._on_done(done)
            case _:
                pass

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        if snapshot.reason == "restart":
            self._tools.clear()
        if not self._begun and snapshot.reason != "cancel":
            self._begun, self._status = True, "in_progress"
            self._lifecycle("response.in_progress")
        self._repetition = Repetition(snapshot, self._shown("reasoning"), self._shown("text"))
        self._compare()

    def _on_piece(self, kind: Kind, content: str) -> None:
        if self._repetition is None:
            self._say(kind, content)
        else:
            self._repetition.add(kind, content)
            self._compare()

    def _compare(self) -> None:
        """Go on where the repetition goes beyond what was shown; begin anew where it is something else."""
        repetition = self._repetition
        assert repetition is not None
        if repetition.diverged:
            self._begin_anew(repetition)
        elif repetition.caught_up:
            self._repetition = None
            for kind, text in repetition.news():
                self._say(kind, text)

    def _begin_anew(self, repetition: Repetition) -> None:
        self._repetition = None
        self._close("incomplete")
        self._replaced = len(self._items)
        for kind, text in repetition.said:
            self._say(kind, text)

    def _on_done(self, done: Done) -> None:
        if self._repetition is not None and done.status == "completed":
            # It ended before it had said all that was shown: it is another answer.
            self._begin_anew(self._repetition)
        reason = _CUT_SHORT.get(done.finish_reason or "")
        if done.status != "completed":
            if self._open is not None:
                self._open.status = "incomplete"
            self._end(*_BROKEN_OFF[done.status], done)
            return
        status = "incomplete" if reason else "completed"
        self._close(status)
        # Those with a result were run here, and are nothing for the client to do.
        for call in (call for call in self._tools.values() if call.state == "started"):
            self._call(call, status)
        self._end(status, f"response.{status}", done, reason)

    def _end(self, status: str, kind: str, done: Done, reason: str | None = None) -> None:
        self._status = status
        self._ending = {
            "error": _error(done.error) if status == "failed" else None,
            "incomplete_details": {"reason": reason} if reason else None,
            "usage": usage(done.usage),
        }
        self._lifecycle(kind)

    # Items

    def _shown(self, kind: Kind) -> str:
        return "".join(item.text for item in self._items[self._replaced :] if item.kind == kind)

    def _say(self, kind: Kind, text: str) -> None:
        if self._open is None or self._open.kind != kind:
            self._close("completed")
            self._begin(kind)
        assert self._open is not None
        self._out.append(self._delta(self._open, orjson.dumps(text)[1:-1]))

    def _begin(self, kind: Kind) -> None:
        item = self._open = self._new(_TYPES[kind], kind)
        place = {"item_id": item.id, "output_index": item.index, "content_index": 0}
        self._emit("response.output_item.added", output_index=item.index, item=item.view(empty=True))
        self._emit("response.content_part.added", **place, part=item.part(""))
        name = f"response.{_PARTS[kind]}.delta"
        item.head = b'event: %b\ndata: {"type":"%b","sequence_number":' % ((name.encode(),) * 2)
        item.middle = b"," + orjson.dumps(place)[1:-1] + b',"delta":"'
        item.tail = b'","logprobs":[]}\nid: ' if kind == "text" else b'"}\nid: '

    def _delta(self, item: _Item, escaped: bytes) -> bytes:
        item.pieces.append(escaped)
        n = self._sequence
        self._sequence = n + 1
        if n <= self._after:
            return b""
        frame = b"%b%d%b%b%b%d\n\n" % (item.head, n, item.middle, escaped, item.tail, n)
        if self._retry:
            frame, self._retry = self._retry + frame, b""
        return frame

    def _close(self, status: str) -> None:
        """The open item gets no more."""
        item, self._open = self._open, None
        if item is None:
            return
        assert item.kind is not None
        item.status = status
        text = item.text
        place = {"item_id": item.id, "output_index": item.index, "content_index": 0}
        logprobs: dict[str, Any] = {"logprobs": []} if item.kind == "text" else {}
        self._emit(f"response.{_PARTS[item.kind]}.done", **place, text=text, **logprobs)
        self._emit("response.content_part.done", **place, part=item.part(text))
        self._emit("response.output_item.done", output_index=item.index, item=item.view())

    def _call(self, call: Tool, status: str) -> None:
        item = self._new("function_call", None)
        item.call = call
        place = {"item_id": item.id, "output_index": item.index}
        self._emit("response.output_item.added", output_index=item.index, item=item.view(empty=True))
        if call.arguments:
            self._emit("response.function_call_arguments.delta", **place, delta=call.arguments)
        self._emit("response.function_call_arguments.done", **place, name=call.tool, arguments=call.arguments)
        item.status = status
        self._emit("response.output_item.done", output_index=item.index, item=item.view())

    def _new(self, kind: str, spoken: Kind | None) -> _Item:
        index = len(self._items)
        item = _Item(ids.item(kind, self._message_id, index), index, spoken)
        self._items.append(item)
        return item

    # Words

    def _lifecycle(self, kind: str) -> None:
        self._emit(kind, response=self.response() if self._sequence > self._after else None)

    def _emit(self, kind: str, **fields: Any) -> None:
        n = self._sequence
        self._sequence = n + 1
        if n <= self._after:
            return
        data = orjson.dumps({"type": kind, "sequence_number": n, **fields})
        self._out.append(b"%bevent: %b\ndata: %b\nid: %d\n\n" % (self._retry, kind.encode(), data, n))
        self._retry = b""

    def _taken(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out


# How an answer ends that was not completed: the status, and the event that says so.
_BROKEN_OFF = {"error": ("failed", "response.failed"), "cancelled": ("cancelled", "response.incomplete")}


def usage(told: dict[str, Any] | None) -> dict[str, Any]:
    """Usage with every field its readers insist on; what nobody counted is zero."""
    count = {name: (told or {}).get(name) or 0 for name in _COUNTS}
    return {
        "input_tokens": count["input_tokens"],
        "input_tokens_details": {"cached_tokens": count["cached_tokens"], "cache_write_tokens": 0},
        "output_tokens": count["output_tokens"],
        "output_tokens_details": {"reasoning_tokens": count["reasoning_tokens"]},
        "total_tokens": count["input_tokens"] + count["output_tokens"],
    }


_COUNTS = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens")


def _error(told: dict[str, Any] | None) -> dict[str, Any]:
    told = told or {}
    code = _ERROR_CODES.get(told.get("code", ""), "server_error")
    return {"code": code, "message": told.get("message") or "The answer could not be generated."}
