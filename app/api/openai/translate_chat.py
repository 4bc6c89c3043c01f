"""The log of a generation as the chunks of a chat completion. Pure.

This protocol cannot resume and has no items. An answer that was restarted and says something else than what was
shown ends with an error in the stream: the client knows that what it has is not the answer.
"""

from __future__ import annotations

from typing import Any

import orjson

from app.api.openai.telling import Kind, Repetition
from app.domain.cursor import Cursor
from app.domain.events import Done, Reasoning, Snapshot, Token, Tool, decode
from app.domain.transcript import Transcript

DONE = b"data: [DONE]\n\n"
_NAMES: dict[Kind, str] = {"text": "content", "reasoning": "reasoning_content"}


class ChatTranslator:
    """Folds a log and says what a stream of chat completion chunks says. ``base``: id, created and model."""

    def __init__(self, base: dict[str, Any], *, include_usage: bool) -> None:
        self._base = {**base, "object": "chat.completion.chunk"}
        self._include_usage = include_usage
        self._shown: dict[Kind, list[str]] = {"reasoning": [], "text": []}
        self._tools: dict[str, Tool] = {}
        self._repetition: Repetition | None = None
        self._over = False

    def opening(self) -> bytes:
        """The first chunk: who speaks."""
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def render(self, cursor: Cursor, payload: bytes) -> bytes:
        """The next entry of the log as chunks; empty when there is nothing to say about it."""
        if self._over:
            return b""
        match decode(payload):
            case Token(content):
                return self._piece("text", content)
            case Reasoning(content):
                return self._piece("reasoning", content)
            case Snapshot() as snapshot:
                if snapshot.reason == "restart":
                    self._tools.clear()
                shown = {kind: "".join(pieces) for kind, pieces in self._shown.items()}
                self._repetition = Repetition(snapshot, shown["reasoning"], shown["text"])
                return self._compare()
            case Tool() as call:
                self._tools[call.call_id] = call
            case Done() as done:
                return self._end(done)
            case _:
                pass
        return b""

    def _piece(self, kind: Kind, text: str) -> bytes:
        if self._repetition is None:
            return self._say(kind, text)
        self._repetition.add(kind, text)
        return self._compare()

    def _compare(self) -> bytes:
        repetition = self._repetition
        assert repetition is not None
        if repetition.diverged:
            return self._fail("restarted", "The answer was begun anew and differs from what was sent before.")
        if not repetition.caught_up:
            return b""
        self._repetition = None
        return b"".join(self._say(kind, text) for kind, text in repetition.news())

    def _say(self, kind: Kind, text: str) -> bytes:
        self._shown[kind].append(text)
        return self._chunk({_NAMES[kind]: text})

    def _end(self, done: Done) -> bytes:
        if done.status != "completed":
            told = done.error or {"code": "cancelled", "message": "The generation was cancelled."}
            return self._fail(told["code"], told["message"])
        if self._repetition is not None:
            return self._fail("restarted", "The answer was begun anew and differs from what was sent before.")
        chunks = [self._chunk({"tool_calls": [{"index": n, **_call(call)}]}) for n, call in enumerate(self._calls())]
        chunks.append(self._chunk({}, finish_reason(done.finish_reason, bool(chunks))))
        if self._include_usage:
            chunks.append(_data({**self._base, "choices": [], "usage": usage(done.usage)}))
        return b"".join((*chunks, DONE))

    def _calls(self) -> list[Tool]:
        """What the client is to run: those with a result were run here."""
        return [call for call in self._tools.values() if call.state == "started"]

    def _fail(self, code: str, message: str) -> bytes:
        self._over = True
        error = {"message": message, "type": "server_error", "param": None, "code": code}
        return _data({"error": error}) + DONE

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        body = {**self._base, "choices": [choice]}
        return _data(body | {"usage": None} if self._include_usage else body)


def completion(base: dict[str, Any], said: Transcript) -> dict[str, Any]:
    """The whole answer of a completed generation as one object."""
    done = said.done
    assert done is not None, "asked for a finished answer"
    calls = [_call(tool) for tool in said.tools.values() if tool.state == "started"]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if calls and not said.text else said.text,
        "refusal": None,
    }
    if said.reasoning:
        message["reasoning_content"] = said.reasoning
    if calls:
        message["tool_calls"] = calls
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason(done.finish_reason, bool(calls)),
    }
    return {**base, "object": "chat.completion", "choices": [choice], "usage": usage(done.usage)}


def finish_reason(told: str | None, has_calls: bool) -> str:
    """One of the four this protocol knows."""
    if told in ("stop", "length", "tool_calls", "content_filter"):
        return "tool_calls" if has_calls and told == "stop" else told
    return "tool_calls" if has_calls else "stop"


def usage(told: dict[str, Any] | None) -> dict[str, Any]:
    """Usage in this protocol's names."""
    known = told or {}
    asked, answered = known.get("input_tokens") or 0, known.get("output_tokens") or 0
    return {
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": asked + answered,
        "prompt_tokens_details": {"cached_tokens": known.get("cached_tokens") or 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": known.get("reasoning_tokens") or 0, "audio_tokens": 0},
    }


def _call(call: Tool) -> dict[str, Any]:
    function = {"name": call.tool, "arguments": call.arguments}
    return {"id": call.call_id, "type": "function", "function": function}


def _data(body: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(body)
