"""A model of the AI SDK's client, as strict as the SDK: it follows the source of the SDK and not of the service."""

from __future__ import annotations

import json
from typing import Any


class StreamError(Exception):
    """The stream has a chunk at which the real client fails."""


_FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "start": {"messageId": str},
    "start-step": {},
    "finish-step": {},
    "reset-step": {},
    "text-start": {"id": str},
    "text-delta": {"id": str, "delta": str},
    "text-end": {"id": str},
    "reasoning-start": {"id": str},
    "reasoning-delta": {"id": str, "delta": str},
    "reasoning-end": {"id": str},
    "tool-input-start": {"toolCallId": str, "toolName": str},
    "tool-input-delta": {"toolCallId": str, "inputTextDelta": str},
    "tool-input-available": {"toolCallId": str, "toolName": str, "input": object},
    "tool-input-error": {"toolCallId": str, "toolName": str, "input": object, "errorText": str},
    "tool-output-available": {"toolCallId": str, "output": object},
    "tool-output-error": {"toolCallId": str, "errorText": str},
    "finish": {"finishReason": str},
    "abort": {},
    "error": {"errorText": str},
}
_REASONS = {"stop", "length", "content-filter", "tool-calls", "error", "interrupted", "other"}


def chunks(stream: bytes) -> list[dict[str, Any]]:
    """The chunks of a body. Comments and a block that was cut off give none."""
    found = []
    for block in stream.decode().split("\n\n")[:-1]:
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        assert len(lines) == 1, block
        data = lines[0].removeprefix("data: ")
        assert data != lines[0]
        found.append({"type": "[DONE]"} if data == "[DONE]" else json.loads(data))
    return found


class Client:
    """A chat with one answer in it. ``status`` is the value that the SDK's hook shows."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.status = "submitted"
        self.finish_reason: str | None = None
        self.error: str | None = None

    def read(self, stream: bytes, resumed: bool = False) -> Client:
        """Read one body up to its end or its cut. Raises StreamError."""
        told = chunks(stream)
        message: dict[str, Any] = {"id": "made-here", "role": "assistant", "parts": []}
        active: dict[str, dict[str, Any]] = {}
        calls: dict[str, str] = {}
        self.status = "submitted"
        for chunk in told:
            kind = chunk["type"]
            if kind == "[DONE]":
                assert chunk is told[-1], "something follows the end"
                self.status = "error" if self.error else "ready"
                break
            self._check(chunk)
            parts = message["parts"]
            begin = max((n for n, part in enumerate(parts) if part["type"] == "step-start"), default=-1) + 1
            if kind == "start":
                message["id"] = chunk["messageId"]
                if resumed:
                    self.messages = [m for m in self.messages if m["id"] != message["id"]]
            elif kind == "start-step":
                parts.append({"type": "step-start"})
            elif kind == "reset-step":
                del parts[begin:]
                active.clear()
                calls.clear()
            elif kind.endswith("-start") and "toolCallId" not in chunk:
                if chunk["id"] in active:
                    raise StreamError(f"{chunk['id']} begins twice")
                active[chunk["id"]] = {"type": kind.removesuffix("-start"), "text": "", "state": "streaming"}
                parts.append(active[chunk["id"]])
            elif kind in ("text-delta", "reasoning-delta", "text-end", "reasoning-end"):
                part = active.get(chunk["id"])
                if part is None or part["type"] != kind.split("-")[0]:
                    raise StreamError(f"{kind} for missing part {chunk['id']}")
                if kind.endswith("delta"):
                    part["text"] += chunk["delta"]
                else:
                    part["state"] = "done"
                    del active[chunk["id"]]
            elif kind.startswith("tool-"):
                self._tool(chunk, parts, calls)
            elif kind == "finish":
                self.finish_reason = chunk["finishReason"]
            elif kind == "error":
                self.error = chunk["errorText"]
            self.status = "streaming"
            if message["parts"]:
                self.messages = [m for m in self.messages if m["id"] != message["id"]] + [message]
        return self

    def _check(self, chunk: dict[str, Any]) -> None:
        fields = _FIELDS.get(chunk["type"])
        if fields is None:
            raise StreamError(f"unknown chunk {chunk}")
        for name, kind in fields.items():
            if name not in chunk or not isinstance(chunk[name], kind):
                raise StreamError(f"{name} of {chunk}")
        if chunk["type"] == "finish" and chunk["finishReason"] not in _REASONS:
            raise StreamError(f"reason of {chunk}")

    def _tool(self, chunk: dict[str, Any], parts: list[dict[str, Any]], calls: dict[str, str]) -> None:
        name, kind = chunk["toolCallId"], chunk["type"]
        part = next((p for p in parts if p.get("toolCallId") == name), None)
        if kind == "tool-input-start":
            calls[name] = ""
            if part is None:
                parts.append(part := {"type": "dynamic-tool", "toolCallId": name, "toolName": chunk["toolName"]})
            part |= {"state": "input-streaming", "input": None}
            return
        if kind == "tool-input-delta":
            if name not in calls:
                raise StreamError(f"delta for missing call {name}")
            calls[name] += chunk["inputTextDelta"]
            return
        if part is None:
            raise StreamError(f"{kind} for missing call {name}")
        states = {"tool-input-available": "input-available", "tool-output-available": "output-available"}
        part["state"] = states.get(kind, "output-error")
        part |= {key: chunk[key] for key in ("input", "output", "errorText") if key in chunk}

    @property
    def answer(self) -> dict[str, Any]:
        """The only message of the chat."""
        (message,) = self.messages
        return message

    def text(self, kind: str = "text") -> str:
        """The text of all parts of this kind of the answer."""
        return "".join(part["text"] for part in self.answer["parts"] if part["type"] == kind)
