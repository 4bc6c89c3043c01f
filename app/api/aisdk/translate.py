"""The log of a generation as a UI message stream (version 1) of the Vercel AI SDK. Pure: no clock, no input or output.

The client resumes by a full replay, so there are no positions: every reader is told everything from the beginning,
in the same bytes, and the client rebuilds its message. Where the log says "everything so far" anew, what was shown
stays when the log goes on from it, and `reset-step` takes it back when it does not: the client drops the parts of
the step and hears them again as they are now.

The client refuses a stream with a chunk it does not know. Only what `ai` 7 reads may leave here.
"""

from __future__ import annotations

from typing import Any, Literal

import orjson

from app.domain.cursor import Cursor
from app.domain.events import Done, Mark, Reasoning, Snapshot, Token, Tool, decode

Kind = Literal["reasoning", "text"]

HEADERS = (("x-vercel-ai-ui-message-stream", "v1"),)
DONE = b"data: [DONE]\n\n"

# How an encoded event of either kind begins; what follows up to the last brace is JSON text.
_BEGINS: dict[Kind, bytes] = {
    "text": b'{"type":"token","content":"',
    "reasoning": b'{"type":"reasoning","content":"',
}
_FINISH_REASONS = {"stop": "stop", "length": "length", "content_filter": "content-filter", "tool_calls": "tool-calls"}


def chunk(kind: str, **fields: Any) -> bytes:
    """One chunk as a block of the event stream. Fields that are None are left out."""
    told = {name: value for name, value in fields.items() if value is not None}
    return b"data: %b\n\n" % orjson.dumps({"type": kind, **told})


def opening(message_id: str, metadata: dict[str, Any], earlier: bytes = b"") -> bytes:
    """How every stream begins. The same ``message_id`` for ever: by it the client finds the message to rebuild.

    ``earlier``: the steps this answer continues (`history.steps`).
    """
    return chunk("start", messageId=message_id, messageMetadata=metadata) + earlier + chunk("start-step")


class UiTranslator:
    """Folds a log from its start and says each event as chunks, behind ``opening``."""

    def __init__(self) -> None:
        self._open: Kind | None = None
        # How an event looks that only goes on with the open part, and the beginning of the chunk it becomes.
        self._expected = self._head = b""
        self._part = ""
        self._parts = 0
        # What the step shows now: escaped JSON text, as the log has it. All that a reader costs.
        self._shown: dict[Kind, bytearray] = {"reasoning": bytearray(), "text": bytearray()}
        self._tools: dict[str, Tool] = {}
        # Calls that have begun. Whose they are shows later: one that runs here ends, the client's is left to it.
        self._begun: dict[str, Tool] = {}

    def render(self, cursor: Cursor, payload: bytes) -> bytes:
        """The next entry of the log as chunks; empty when there is nothing to say about it."""
        if self._open is not None and payload.startswith(self._expected):
            # The hot path: JSON text goes from frame to frame without being looked at.
            escaped = payload[len(self._expected) : -2]
            self._shown[self._open] += escaped
            return b'%b%b"}\n\n' % (self._head, escaped)
        match decode(payload):
            case Token(content):
                return self._say("text", content)
            case Reasoning(content):
                return self._say("reasoning", content)
            case Snapshot() as snapshot:
                return self._revise(snapshot)
            case Tool() as call:
                return self._call(call)
            case Mark():
                return self._hand_over()
            case Done() as done:
                return self._end(done)

    def _say(self, kind: Kind, text: str) -> bytes:
        if not text:
            return b""
        before = b"" if self._open == kind else self._close() + self._begin(kind)
        escaped = orjson.dumps(text)[1:-1]
        self._shown[kind] += escaped
        return b'%b%b%b"}\n\n' % (before, self._head, escaped)

    def _begin(self, kind: Kind) -> bytes:
        self._parts += 1
        self._open, self._part = kind, f"{kind}-{self._parts}"
        self._expected = _BEGINS[kind]
        self._head = b'data: {"type":"%b-delta","id":"%b","delta":"' % (kind.encode(), self._part.encode())
        return chunk(f"{kind}-start", id=self._part)

    def _close(self) -> bytes:
        kind, self._open = self._open, None
        return chunk(f"{kind}-end", id=self._part) if kind else b""

    def _text(self, kind: Kind) -> str:
        text: str = orjson.loads(b'"%b"' % bytes(self._shown[kind]))
        return text

    def _revise(self, snapshot: Snapshot) -> bytes:
        """A revision says what there is so far: nothing new, more than was shown, or something else."""
        calls = {} if snapshot.reason == "restart" else dict(self._tools)
        reasoning, text = self._text("reasoning"), self._text("text")
        goes_on = snapshot.reasoning.startswith(reasoning) and snapshot.text.startswith(text)
        if goes_on and len(calls) == len(self._tools):
            more = self._say("reasoning", snapshot.reasoning[len(reasoning) :])
            return more + self._say("text", snapshot.text[len(text) :])
        self._open = None
        self._shown = {"reasoning": bytearray(), "text": bytearray()}
        self._tools, self._begun = {}, {}
        again = [self._say("reasoning", snapshot.reasoning), self._say("text", snapshot.text)]
        return b"".join((chunk("reset-step"), *again, *map(self._call, calls.values())))

    def _call(self, call: Tool) -> bytes:
        """A tool call, each state of it once; of one that has only begun nothing is said yet."""
        known = self._tools.get(call.call_id)
        self._tools[call.call_id] = call
        is_news = known is None or known.arguments != call.arguments
        if call.state == "started":
            if is_news:
                self._begun[call.call_id] = call
            return b""
        is_news = self._begun.pop(call.call_id, None) is not None or is_news
        told = self._close()
        if is_news:
            told += tool_input(call, here=True)
        if is_news or known is None or known.state != call.state:
            told += tool_result(call, here=True)
        return told

    def _hand_over(self) -> bytes:
        """The calls that nobody ran here: the client is to run them."""
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
    """What a tool is called with. Always as a dynamic tool: which ones an app has types for is not known here.

    ``here``: it is run by us, and the client must not.
    """
    named = {"toolCallId": call.call_id, "toolName": call.tool, "dynamic": True, **_run_by(here)}
    told = chunk("tool-input-start", **named)
    if call.arguments:
        told += chunk("tool-input-delta", toolCallId=call.call_id, inputTextDelta=call.arguments)
    try:
        read = orjson.loads(call.arguments or "{}")
    except ValueError:
        return told + chunk("tool-input-error", **named, input=call.arguments, errorText="The input is not valid JSON.")
    # An input of null has to be there all the same.
    body = {"type": "tool-input-available", **named, "input": read}
    return told + b"data: %b\n\n" % orjson.dumps(body)


def tool_result(call: Tool, *, here: bool = False) -> bytes:
    """How a tool call ended."""
    named = {"toolCallId": call.call_id, **_run_by(here)}
    if call.state == "failed":
        return chunk("tool-output-error", **named, errorText=call.result or "The tool failed.")
    body = {"type": "tool-output-available", **named, "output": read_output(call.result)}
    return b"data: %b\n\n" % orjson.dumps(body)


def _run_by(here: bool) -> dict[str, Any]:
    return {"providerExecuted": True} if here else {}


def read_output(result: str | None) -> Any:
    """A tool's result: what the JSON says, or else the text itself."""
    try:
        return orjson.loads(result) if result is not None else None
    except ValueError:
        return result
