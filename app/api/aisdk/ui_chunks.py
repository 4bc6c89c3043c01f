"""The log of a generation as a UI message stream (version 1) of the Vercel AI SDK. Pure: no clock, no input or output.

The client resumes by a full replay, so there are no positions: each stream begins at the start of the log, with the
same bytes for each reader, and the client rebuilds its message. When a snapshot goes on from the text that was sent,
only the rest is sent. When it does not, the chunk `reset-step` is sent: the client drops the parts of the step and
receives them again.

The client refuses a stream that has an unknown chunk. Only chunks of `ai` version 7 may be sent.
"""

from __future__ import annotations

from typing import Any, Literal

import orjson

from app.domain.cursor import Cursor
from app.domain.events import Done, Mark, Reasoning, Refusal, Snapshot, Token, Tool, decode, escaped_text

Kind = Literal["reasoning", "text"]

HEADERS = (("x-vercel-ai-ui-message-stream", "v1"),)
DONE = b"data: [DONE]\n\n"

_EVENTS: dict[Kind, type[Token] | type[Reasoning]] = {"text": Token, "reasoning": Reasoning}
_FINISH_REASONS = {"stop": "stop", "length": "length", "content_filter": "content-filter", "tool_calls": "tool-calls"}


def chunk(kind: str, **fields: Any) -> bytes:
    """A chunk as an event of the stream. Fields that are None are left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    return b"data: %b\n\n" % orjson.dumps({"type": kind, **given})


def opening(message_id: str, metadata: dict[str, Any], earlier: bytes = b"") -> bytes:
    """The beginning of a stream. The client finds the message to rebuild by ``message_id``, which never changes.

    ``earlier``: the chunks of the steps that this answer continues (`history.steps`).
    """
    return chunk("start", messageId=message_id, messageMetadata=metadata) + earlier + chunk("start-step")


class UiTranslator:
    """Folds a log from its start and returns the chunks of each entry. They follow the chunks of ``opening``."""

    def __init__(self) -> None:
        self._open: Kind | None = None
        # The bytes of a delta of the open part before its text.
        self._head = b""
        self._part = ""
        self._parts = 0
        # The text of the step so far: escaped JSON text, as the log has it.
        self._shown: dict[Kind, bytearray] = {"reasoning": bytearray(), "text": bytearray()}
        self._tools: dict[str, Tool] = {}
        # Calls that have begun. A call that a worker runs ends here; the others are for the client.
        self._begun: dict[str, Tool] = {}

    def render(self, cursor: Cursor, payload: bytes) -> bytes:
        """The chunks for the next entry of the log; empty when the entry has no chunk here."""
        escaped = escaped_text(payload, _EVENTS[self._open]) if self._open is not None else None
        if self._open is not None and escaped is not None:
            # Nearly all entries: JSON text goes from the log to the chunk without being decoded.
            self._shown[self._open] += escaped
            return b'%b%b"}\n\n' % (self._head, escaped)
        match decode(payload):
            case Token(content):
                return self._append("text", content)
            case Reasoning(content):
                return self._append("reasoning", content)
            case Snapshot() as snapshot:
                return self._revise(snapshot)
            case Tool() as call:
                return self._call(call)
            case Mark():
                return self._hand_over()
            case Refusal():
                return b""
            case Done() as done:
                return self._end(done)

    def _append(self, kind: Kind, text: str) -> bytes:
        if not text:
            return b""
        before = b"" if self._open == kind else self._close() + self._begin(kind)
        escaped = orjson.dumps(text)[1:-1]
        self._shown[kind] += escaped
        return b'%b%b%b"}\n\n' % (before, self._head, escaped)

    def _begin(self, kind: Kind) -> bytes:
        self._parts += 1
        self._open, self._part = kind, f"{kind}-{self._parts}"
        self._head = b'data: {"type":"%b-delta","id":"%b","delta":"' % (kind.encode(), self._part.encode())
        return chunk(f"{kind}-start", id=self._part)

    def _close(self) -> bytes:
        kind, self._open = self._open, None
        return chunk(f"{kind}-end", id=self._part) if kind else b""

    def _text(self, kind: Kind) -> str:
        text: str = orjson.loads(b'"%b"' % bytes(self._shown[kind]))
        return text

    def _revise(self, snapshot: Snapshot) -> bytes:
        """The chunks that turn the text of the client into the text of the snapshot."""
        calls = {} if snapshot.forgets_calls else dict(self._tools)
        reasoning, text = self._text("reasoning"), self._text("text")
        goes_on = snapshot.reasoning.startswith(reasoning) and snapshot.text.startswith(text)
        if goes_on and len(calls) == len(self._tools):
            more = self._append("reasoning", snapshot.reasoning[len(reasoning) :])
            return more + self._append("text", snapshot.text[len(text) :])
        self._open = None
        self._shown = {"reasoning": bytearray(), "text": bytearray()}
        self._tools, self._begun = {}, {}
        again = [self._append("reasoning", snapshot.reasoning), self._append("text", snapshot.text)]
        return b"".join((chunk("reset-step"), *again, *map(self._call, calls.values())))

    def _call(self, call: Tool) -> bytes:
        """The chunks of a tool call, once for each state. A call that has only begun has none yet."""
        known = self._tools.get(call.call_id)
        self._tools[call.call_id] = call
        is_news = known is None or known.arguments != call.arguments
        if call.state == "started":
            if is_news:
                self._begun[call.call_id] = call
            return b""
        is_news = self._begun.pop(call.call_id, None) is not None or is_news
        chunks = self._close()
        if is_news:
            chunks += tool_input(call, here=True)
        if is_news or known is None or known.state != call.state:
            chunks += tool_result(call, here=True)
        return chunks

    def _hand_over(self) -> bytes:
        """The chunks of the calls that the client is to run: no worker ran them."""
        calls, self._begun = self._begun, {}
        return b"".join((self._close(), *map(tool_input, calls.values()))) if calls else b""

    def _end(self, done: Done) -> bytes:
        closed = self._hand_over() + self._close()
        if done.status == "cancelled":
            return closed + chunk("abort", reason="cancelled") + DONE
        if done.status == "error":
            message = (done.error or {}).get("message") or "The answer could not be generated."
            return closed + chunk("error", errorText=message) + DONE
        reason = _FINISH_REASONS.get(done.finish_reason or "", "other")
        if reason == "stop" and any(call.state == "started" for call in self._tools.values()):
            reason = "tool-calls"
        metadata = {"usage": done.usage} if done.usage else None
        return closed + chunk("finish-step") + chunk("finish", finishReason=reason, messageMetadata=metadata) + DONE


def tool_input(call: Tool, *, here: bool = False) -> bytes:
    """The input of a tool call. The tool is always a dynamic tool, because the types of the app are not known here.

    ``here``: a worker runs the call, and the client must not.
    """
    named = {"toolCallId": call.call_id, "toolName": call.tool, "dynamic": True, **_run_by(here)}
    chunks = chunk("tool-input-start", **named)
    if call.arguments:
        chunks += chunk("tool-input-delta", toolCallId=call.call_id, inputTextDelta=call.arguments)
    try:
        read = orjson.loads(call.arguments or "{}")
    except ValueError:
        return chunks + chunk(
            "tool-input-error", **named, input=call.arguments, errorText="The input is not valid JSON."
        )
    # A null input must be present, so ``chunk`` is not used.
    body = {"type": "tool-input-available", **named, "input": read}
    return chunks + b"data: %b\n\n" % orjson.dumps(body)


def tool_result(call: Tool, *, here: bool = False) -> bytes:
    """The result of a tool call."""
    named = {"toolCallId": call.call_id, **_run_by(here)}
    if call.state == "failed":
        return chunk("tool-output-error", **named, errorText=call.result or "The tool failed.")
    body = {"type": "tool-output-available", **named, "output": read_output(call.result)}
    return b"data: %b\n\n" % orjson.dumps(body)


def _run_by(here: bool) -> dict[str, Any]:
    return {"providerExecuted": True} if here else {}


def read_output(result: str | None) -> Any:
    """The result of a tool: the value of its JSON, or the text when it is no JSON."""
    try:
        return orjson.loads(result) if result is not None else None
    except ValueError:
        return result
