"""The content blocks of one answer of Anthropic's Messages API: pieces of text, thoughts and calls. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from worker.limits import Limits
from worker.providers.base import Piece, Text, Thought, ToolDelta
from worker.providers.reading.clean_text import JsonText, clean_value

Block = dict[str, Any]

# More blocks are never open at the same time: the API sends one after the other.
MOST_OPEN = 64
# Bytes of the blocks that one answer keeps, as JSON: results of the upstream's own tools may be long.
MOST_KEPT_BYTES = 32 * 1024 * 1024
_THINKING = ("thinking", "redacted_thinking")


@dataclass(slots=True)
class _Open:
    """A block that has not ended. ``parts``: its text, or its JSON; ``call``: the number of a tool call."""

    start: Block
    call: int | None = None
    parts: list[str] = field(default_factory=list)
    signature: list[str] = field(default_factory=list)


class Blocks:
    """The blocks of an answer. ``calls``: the tool calls until now; ``said_chars``: the characters since a count.

    ``kept`` has the blocks that have ended, as a paused turn sends them back. Thoughts are held until the next call,
    which carries them. Raises ProviderError at a limit.
    """

    def __init__(self, json: JsonText, limits: Limits, first_call: int) -> None:
        self._json = json
        self._limits = limits
        self._open: dict[Any, _Open] = {}
        self._thoughts: list[Block] = []
        self._held_chars = 0
        self._kept_bytes = 0
        self._has_thought = False
        self.calls = first_call
        self.said_chars = 0
        self.kept: list[Block] = []

    def begin(self, index: Any, start: Block) -> list[Piece]:
        """A block begins; it may have its content already."""
        if len(self._open) >= MOST_OPEN:
            raise ValueError("too many open blocks")
        kind = start.get("type")
        block = self._open[index] = _Open(start)
        if kind == "text":
            return self._say(block, Text, "text", start.get("text") or "")
        if kind == "thinking":
            self._sign(block, start.get("signature") or "")
            return self._say(block, Thought, "thought", start.get("thinking") or "")
        if kind == "redacted_thinking":
            self._hold(len(str(start.get("data") or "")))
        if kind != "tool_use":
            return []
        block.call, self.calls = self.calls, self.calls + 1
        thoughts, self._thoughts = self._thoughts, []
        extra = {"anthropic": {"thinking": thoughts}} if thoughts else None
        return [ToolDelta(block.call, _name(start.get("id")), _name(start.get("name")), "", extra)]

    def add(self, index: Any, delta: Mapping[str, Any]) -> list[Piece]:
        """The next part of a block."""
        block = self._open.get(index)
        kind = delta.get("type")
        if block is None:
            if kind not in ("text_delta", "thinking_delta"):
                return []
            block = self._open[index] = _Open({"type": "text" if kind == "text_delta" else "thinking"})
        if kind == "text_delta":
            return self._say(block, Text, "text", delta["text"])
        if kind == "thinking_delta":
            return self._say(block, Thought, "thought", delta["thinking"])
        if kind == "signature_delta":
            self._sign(block, delta["signature"])
        elif kind == "input_json_delta":
            return self._argue(block, delta["partial_json"])
        return []

    def end(self, index: Any) -> list[Piece]:
        """A block ends."""
        block = self._open.pop(index, None)
        if block is None:
            return []
        pieces: list[Piece] = []
        kind = block.start.get("type")
        if block.call is not None and not block.parts:
            # A tool without parameters, or a server that sends the input at once.
            pieces = self._argue(block, orjson.dumps(clean_value(block.start.get("input") or {})).decode())
        elif kind == "text" and (rest := self._json.left("text")):
            pieces.append(Text(rest))
        elif kind == "thinking" and (rest := self._json.left("thought")):
            pieces.append(Thought(rest))
        whole = _whole(block)
        self._kept_bytes += len(orjson.dumps(whole))
        if self._kept_bytes > MOST_KEPT_BYTES:
            raise ValueError("too many blocks")
        if kind in _THINKING:
            self._thoughts.append(whole)
        if kind != "text" or whole["text"].strip():  # the API refuses a text that is blank
            self.kept.append(whole)
        return pieces

    def end_all(self) -> list[Piece]:
        """The answer ends, and every block with it."""
        return [piece for index in list(self._open) for piece in self.end(index)]

    def _say(self, block: _Open, kind: type[Text] | type[Thought], channel: str, text: str) -> list[Piece]:
        text = self._json.clean(channel, text)
        if not text:
            return []
        self.said_chars += len(text)
        # A thought that follows another one is a paragraph of its own.
        space = "\n\n" if kind is Thought and self._has_thought and not block.parts else ""
        if kind is Thought:
            self._has_thought = True
        block.parts.append(text)
        return [kind(space + text)]

    def _argue(self, block: _Open, part: str) -> list[Piece]:
        part = self._json.clean(f"block {block.call}", part)
        if not part:
            return []
        if block.call is None:  # a tool of the upstream's own
            self._hold(len(part))
            block.parts.append(part)
            return []
        self.said_chars += len(part)
        block.parts.append(part)
        return [ToolDelta(block.call, None, None, part)]

    def _sign(self, block: _Open, part: str) -> None:
        self._hold(len(part))
        block.signature.append(part)

    def _hold(self, chars: int) -> None:
        """Count what goes back with a call; its limit is that of the arguments. Raises ProviderError."""
        self._held_chars += chars
        if self._held_chars > self._limits.tool_argument_chars:
            raise self._limits.exceeded("tool_argument_chars")


def _whole(block: _Open) -> Block:
    """A block as it is sent back."""
    kind = block.start.get("type")
    text = "".join(block.parts)
    if kind == "thinking":
        return clean_value({"type": kind, "thinking": text, "signature": "".join(block.signature)})  # type: ignore[no-any-return]
    if kind == "text":
        return {**block.start, "text": text}
    if isinstance(block.start.get("input"), dict) and text:
        try:
            return {**block.start, "input": orjson.loads(text)}
        except orjson.JSONDecodeError:
            return {**block.start, "input": {}}
    return clean_value(block.start)  # type: ignore[no-any-return]


def _name(value: Any) -> str | None:
    return None if value is None else str(clean_value(str(value)))
