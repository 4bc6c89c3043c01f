"""The chunks of one chat completions answer, pure: JSON to pieces.

Providers differ in what they send. ``fields`` knows the forms of a field, ``usage`` the places of the usage,
``reading.error_shapes`` the errors, ``call_places`` the numbering of tool calls, ``think_tags`` the reasoning in the
text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import orjson

from worker.limits import Limits
from worker.providers.base import Finished, Piece, ProviderError, Refused, Text, Thought, ToolDelta, TooManyCalls, Usage
from worker.providers.chat.call_places import CallPlaces
from worker.providers.chat.fields import (
    REPLACEMENT,
    is_chunk,
    join_surrogates,
    loads_leniently,
    reasoning_in,
    text_in,
    whole,
)
from worker.providers.chat.think_tags import ThinkTags
from worker.providers.chat.thoughts import Source, Thoughts
from worker.providers.chat.usage import usage_in, usage_of
from worker.providers.chat.whole_messages import WholeMessages
from worker.providers.reading.error_shapes import error_in
from worker.providers.reading.upstream_errors import from_event, written

_FIRST = (None, 0, "0")
# The beginning of a chunk: what begins so and cannot be read was one.
_DAMAGED = re.compile(rb"\s*\{\s*(?:\"|$)")


class ChunkReader:
    """Reads the chunks of one answer. It raises nothing: an error is in ``failure``, after the pieces before it.

    ``pieces`` collects until ``take``. ``done`` is set when nothing more can follow; then the last piece was a
    Finished, or ``failure`` is set. ``finish_reason`` and ``usage`` are None until the upstream sends them. ``held``
    has, by channel, a high surrogate whose other half has not come. ``skipped`` counts the events that were no chunks.
    """

    __slots__ = (
        "_final",
        "_is_whole",
        "_lenient",
        "_limits",
        "_messages",
        "_places",
        "_secrets",
        "_tags",
        "_thoughts",
        "begun",
        "done",
        "failure",
        "finish_reason",
        "held",
        "pieces",
        "refused",
        "skipped",
        "usage",
    )

    def __init__(self, secrets: Iterable[str], limits: Limits) -> None:
        self._limits = limits
        self._secrets = tuple(secrets)
        self._places = CallPlaces(limits.tool_calls)
        self._tags = ThinkTags()
        self._thoughts = Thoughts()
        self._messages = WholeMessages()
        self._lenient = False
        self._final = b""  # the last chunk up to the finish reason
        self._is_whole = False  # the answer came as a whole message
        self.begun = False
        self.pieces: list[Piece] = []
        self.finish_reason: str | None = None
        self.refused = False
        self.usage: Usage | None = None
        self.held: dict[str, str] = {}
        self.skipped = 0
        self.done = False
        self.failure: ProviderError | None = None

    def take(self) -> list[Piece]:
        """The pieces since the last call; the list is the caller's."""
        pieces, self.pieces = self.pieces, []
        return pieces

    def takes_unseen(self, kind: type[Text] | type[Thought]) -> bool:
        """True when further text of this kind is a piece as it is: no tag and no repeat can be in it."""
        return self._tags.passed if kind is Text else self._thoughts.free == "field"

    def refine(self, pieces: Iterable[Piece]) -> list[Piece]:
        """The pieces of a template, with the reasoning in tags told from the text."""
        for piece in pieces:
            if isinstance(piece, Text):
                self._add_content(piece.text)
            elif isinstance(piece, Thought):
                self._add_thought("field", piece.text)
        return self.take()

    def read(self, data: bytes) -> None:
        """Read one event: a chunk, an error, or something to skip."""
        try:
            chunk = orjson.loads(data)
            self._lenient = False
        except orjson.JSONDecodeError:
            chunk = loads_leniently(data)
            self._lenient = True
        if self.finish_reason is not None:
            if data == self._final:
                return  # some send their last chunk twice
        else:
            self._final = data
        if isinstance(chunk, dict) and "error" not in chunk and chunk.get("choices"):
            self._chunk(chunk)
        elif self.finish_reason is None or isinstance(chunk, dict):
            self._other(chunk, data)

    def report(self, data: bytes) -> None:
        """Read an event named ``error``: its data is an error object, or plain text."""
        if self.finish_reason is None:
            body = loads_leniently(data)
            error = error_in(body) or body or data.decode("utf-8", "replace")
            self.fail(_reported(error, self._secrets, self.begun))

    def fail(self, failure: ProviderError) -> None:
        """End the answer with an error, unless it has ended."""
        if not self.done:
            self._settle()
            failure.usage = self.usage
            self.failure = failure
            self.done = True

    def conclude(self, *, is_marked: bool = False) -> None:
        """End the answer: with a Finished where the upstream named a finish reason, otherwise with an error.

        An answer with the mark of the end, or a whole message, is complete without a finish reason.
        """
        if self.done:
            return
        self._settle()
        self._is_whole = self._is_whole or (is_marked and self.begun)
        if self.finish_reason is None and self._is_whole:
            self.finish_reason = "tool_calls" if len(self._places) else "stop"
        if self.finish_reason is None:
            message = "The upstream ended its answer without finishing it."
            self.fail(ProviderError("upstream_truncated", message, retryable=True))
            return
        for kind, channel in ((Thought, "thought"), (Text, "text")):
            if channel in self.held:
                self.pieces.append(kind(REPLACEMENT))
        self.pieces.append(Finished(self.finish_reason, self.usage))
        self.done = True

    def _other(self, body: Any, data: bytes) -> None:
        """Read what is no chunk with choices: usage, an error, a list, a sign of life, or nothing readable."""
        error = error_in(body) if self.finish_reason is None else None
        if isinstance(body, dict):
            self._chunk(body)
        elif isinstance(body, list) and error is None and any(is_chunk(one) for one in body):
            for one in filter(is_chunk, body):
                self._chunk(one)
        elif error is None:
            self.skipped += 1
            # A damaged chunk may have been a part of the text.
            if body is None and _DAMAGED.match(data):
                message = "The upstream sent something unreadable."
                self.fail(ProviderError("upstream_malformed", message, retryable=True))
        if error is not None:
            self.fail(_reported(error, self._secrets, self.begun))

    def _chunk(self, chunk: dict[str, Any]) -> None:
        had_finished = self.finish_reason is not None
        try:
            for choice in chunk.get("choices") or ():
                self._choice(choice)
            # Some write it beside the choices, in a field of their own, once the answer has ended.
            if (chunk.get("usage") or self.finish_reason is not None) and (usage := usage_in(chunk)) is not None:
                self.usage = usage
        except TooManyCalls:
            self.fail(self._limits.exceeded("tool_calls"))
        except (AttributeError, TypeError, ValueError):
            if not had_finished:
                message = "The upstream sent a chunk we do not know."
                self.fail(ProviderError("upstream_malformed", message, retryable=True))
        if self.finish_reason == "error" and not chunk.get("error"):
            self.fail(from_event("", secrets=self._secrets))

    def _choice(self, choice: dict[str, Any]) -> None:
        if choice.get("index") not in _FIRST:
            return  # a second answer; we never ask for one
        if usage := choice.get("usage"):  # Kimi
            self.usage = usage_of(usage) or self.usage
        delta = choice.get("delta")
        if not delta and choice.get("message"):
            delta = self._messages.delta(choice["message"], begun=self.begun)
            self._is_whole = self._messages.are_whole
        if delta:
            self._delta(delta)
        if self.finish_reason is None and (reason := choice.get("finish_reason")) and reason != "null":
            self.finish_reason = whole(str(reason))

    def _delta(self, delta: dict[str, Any]) -> None:
        if delta.get("reasoning_content") or delta.get("reasoning") or delta.get("reasoning_details"):
            self._add_thought("field", self._clean("thought", reasoning_in(delta)))
        if content := delta.get("content"):
            if isinstance(content, str):
                self._add_content(self._clean("text", content))
            else:
                self._parts(content)
        if refusal := delta.get("refusal"):
            self._refuse()
            self._add_content(self._clean("text", refusal))
        calls = delta.get("tool_calls")
        if not calls and (function := delta.get("function_call")):
            calls = [{"index": 0, "function": function}]
        if calls:
            earlier: set[int] = set()
            for call in calls if isinstance(calls, list) else [calls]:
                self._tool(call, earlier)

    def _refuse(self) -> None:
        if not self.refused:
            self.refused = True
            self.pieces.append(Refused())

    def _parts(self, parts: list[Any]) -> None:
        for part in parts:
            if isinstance(part, str):
                self._add_content(self._clean("text", part))
            elif part.get("type") == "thinking":  # Mistral: {"type": "thinking", "thinking": […]}
                self._add_thought("field", self._clean("thought", text_in(part.get("thinking"))))
            elif text := part.get("text"):
                self._add_content(self._clean("text", text))

    def _add_content(self, content: str) -> None:
        text = content
        if not self._tags.passed:
            thought, text = self._tags.feed(content)
            self._add_thought("tags", thought)
        if text:
            self.begun = True
            self.pieces.append(Text(text))

    def _add_thought(self, source: Source, thought: str) -> None:
        if thought and (thought := self._thoughts.feed(source, thought)):
            self.begun = True
            self.pieces.append(Thought(thought))

    def _settle(self) -> None:
        """Give out what was held back: the answer ends."""
        thought, text = self._tags.close()
        if thought:
            self._add_thought("tags", thought)
        if rest := self._thoughts.close():
            self.pieces.append(Thought(rest))
        if text:
            self.pieces.append(Text(text))
        self.begun = self.begun or bool(rest or text)

    def _tool(self, call: dict[str, Any], earlier: set[int]) -> None:
        function = call.get("function") or {}
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):
            arguments = orjson.dumps(arguments).decode()
        call_id, name = whole(call.get("id") or None), whole(function.get("name") or None)
        content = call.get("extra_content")
        if not (call_id or name or arguments or content):
            return
        place = self._places.of(call.get("index"), call_id, name, arguments, earlier)
        if place is not None:
            self.begun = True
            extra = {"extra_content": content} if content else None
            self.pieces.append(ToolDelta(place, call_id, name, self._clean(f"tool {place}", arguments), extra))

    def _clean(self, channel: str, text: str) -> str:
        """Text that every store and every encoder takes: no NUL, no lone surrogate; split pairs joined."""
        if "\0" in text:
            text = text.replace("\0", REPLACEMENT)
        if not (self._lenient or self.held):
            return text
        text = self.held.pop(channel, "") + text
        if text and "\ud800" <= text[-1] <= "\udbff":
            self.held[channel] = text[-1]
            text = text[:-1]
        return join_surrogates(text)


def _reported(error: object, secrets: Iterable[str], begun: bool) -> ProviderError:
    """The error that an upstream reports; before the text has ``begun`` it may be the refusal of the request."""
    failure = from_event(error, secrets=secrets)
    if not begun:
        failure.refusal = written(error).encode("utf-8", "replace")
    return failure
