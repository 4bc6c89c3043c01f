"""The log of a generation as the chunks of a chat completion. Pure.

This protocol has no items, and a client cannot resume a stream. A restarted answer that contradicts the text a client
has ends the stream with an error: the client knows that its text is not the answer.
"""

from __future__ import annotations

from typing import Any

import orjson

from app.api.openai.revision_diff import Kind, RevisionDiff
from app.domain.call_extra import to_wire
from app.domain.cursor import Cursor
from app.domain.events import Done, Reasoning, Refusal, Snapshot, Token, Tool, decode
from app.domain.transcript import Transcript

DONE = b"data: [DONE]\n\n"
_CONTRADICTED = "The answer was begun anew and differs from what was sent before."
_NAMES: dict[Kind, str] = {"text": "content", "reasoning": "reasoning_content"}


class ChatTranslator:
    """Folds a log, entry by entry, and returns the chunks of a chat completion.

    ``base`` has the fields id, created and model. ``include_usage``: a last chunk without choices has the usage.
    """

    def __init__(self, base: dict[str, Any], *, include_usage: bool) -> None:
        self._base = {**base, "object": "chat.completion.chunk"}
        self._include_usage = include_usage
        self._sent: dict[Kind, list[str]] = {"reasoning": [], "text": []}
        self._tools: dict[str, Tool] = {}
        # Set while a new revision repeats text that the client has already.
        self._diff: RevisionDiff | None = None
        self._failed = False
        self._refused = False

    def opening(self) -> bytes:
        """The first chunk, which names the role. To be called once, and first."""
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def render(self, cursor: Cursor, payload: bytes) -> bytes:
        """The chunks for the next entry of the log; empty when the entry has no chunk here."""
        if self._failed:
            return b""
        match decode(payload):
            case Token(content):
                return self._on_text("text", content)
            case Reasoning(content):
                return self._on_text("reasoning", content)
            case Snapshot() as snapshot:
                return self._on_snapshot(snapshot)
            case Tool() as call:
                self._tools[call.call_id] = call
            case Refusal():
                self._refused = True
            case Done() as done:
                return self._end(done)
            case _:
                pass
        return b""

    def _on_snapshot(self, snapshot: Snapshot) -> bytes:
        if snapshot.forgets_calls:
            self._tools.clear()
            self._refused = False
        sent = {kind: "".join(pieces) for kind, pieces in self._sent.items()}
        self._diff = RevisionDiff(snapshot, sent["reasoning"], sent["text"])
        return self._apply_diff()

    def _on_text(self, kind: Kind, text: str) -> bytes:
        if self._diff is None:
            return self._append(kind, text)
        self._diff.add(kind, text)
        return self._apply_diff()

    def _apply_diff(self) -> bytes:
        assert self._diff is not None
        if self._diff.diverged:
            return self._fail("restarted", _CONTRADICTED)
        if not self._diff.caught_up:
            return b""
        diff, self._diff = self._diff, None
        return b"".join(self._append(kind, text) for kind, text in diff.new)

    def _append(self, kind: Kind, text: str) -> bytes:
        self._sent[kind].append(text)
        return self._chunk({"refusal" if self._refused and kind == "text" else _NAMES[kind]: text})

    def _end(self, done: Done) -> bytes:
        if done.status != "completed":
            error = done.error or {"code": "cancelled", "message": "The generation was cancelled."}
            return self._fail(error["code"], error["message"])
        if self._diff is not None:
            return self._fail("restarted", _CONTRADICTED)
        chunks = [self._chunk({"tool_calls": [{"index": n, **_call(call)}]}) for n, call in enumerate(self._calls())]
        chunks.append(self._chunk({}, finish_reason(done.finish_reason, bool(chunks))))
        if self._include_usage:
            chunks.append(_data({**self._base, "choices": [], "usage": usage(done.usage)}))
        return b"".join((*chunks, DONE))

    def _calls(self) -> list[Tool]:
        """The calls that the client is to run; a call with a result was run by a worker."""
        return [call for call in self._tools.values() if call.state == "started"]

    def _fail(self, code: str, message: str) -> bytes:
        self._failed = True
        error = {"message": message, "type": "server_error", "param": None, "code": code}
        return _data({"error": error}) + DONE

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        body = {**self._base, "choices": [choice]}
        return _data(body | {"usage": None} if self._include_usage else body)


def completion(base: dict[str, Any], answer: Transcript) -> dict[str, Any]:
    """The whole answer of a completed generation as one object."""
    done = answer.done
    assert done is not None, "the generation has completed"
    calls = [_call(tool) for tool in answer.tools.values() if tool.state == "started"]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if answer.refused or (calls and not answer.text) else answer.text,
        "refusal": answer.text if answer.refused else None,
    }
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if calls:
        message["tool_calls"] = calls
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason(done.finish_reason, bool(calls)),
    }
    return {**base, "object": "chat.completion", "choices": [choice], "usage": usage(done.usage)}


def finish_reason(reason: str | None, has_calls: bool) -> str:
    """One of the four finish reasons of this protocol."""
    if reason in ("stop", "length", "tool_calls", "content_filter"):
        return "tool_calls" if has_calls and reason == "stop" else reason
    return "tool_calls" if has_calls else "stop"


def usage(counts: dict[str, Any] | None) -> dict[str, Any]:
    """Usage in tokens, under the names of this protocol; a count that is missing is zero."""
    known = counts or {}
    prompt, answer = known.get("input_tokens") or 0, known.get("output_tokens") or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": known.get("cached_tokens") or 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": known.get("reasoning_tokens") or 0, "audio_tokens": 0},
    }


def _call(call: Tool) -> dict[str, Any]:
    function = {"name": call.tool, "arguments": call.arguments}
    fields: dict[str, Any] = {"id": call.call_id, "type": "function", "function": function}
    extra = to_wire(call.extra)
    return fields if extra is None else {**fields, "extra_content": extra}


def _data(body: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(body)
