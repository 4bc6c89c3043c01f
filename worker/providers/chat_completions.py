"""The chat completions protocol, pure: a prompt to a request body, the bytes of an answer to pieces.

Providers differ in what they send; this file is the list of the differences we know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import orjson

from app.domain.usage import MOST_COST, MOST_TOKENS
from worker.providers.base import ChatMessage, Finished, Piece, Prompt, ProviderError, Text, Thought, ToolDelta, Usage
from worker.providers.sse import EventTooLarge, SseEvent, SseParser
from worker.providers.upstream_errors import from_event

# Ours to say. `n` would make us pay for answers nobody reads.
_RESERVED = frozenset({"model", "messages", "stream", "stream_options", "n"})

CONTINUE_INSTRUCTION = (
    "Your answer above was cut off. Continue it exactly from where it stops, as if there had been no break: begin with "
    "the very next character, even in the middle of a word, a table or a code block. Repeat nothing of it, and do not "
    "mention the interruption."
)

_LITERALS = re.compile(rb'"(?:content|reasoning_content|reasoning)":\s*("(?:[^"\\]|\\.)*")')
_PROBE = "\x01probe"
# In vain, and in a row: a stream whose chunks have nothing in common is not studied for ever.
_MAX_LESSONS = 4

CONTINUATIONS = frozenset({"prefill", "vllm", "instruction", "none"})


def request_body(prompt: Prompt, *, continuation: str = "instruction", include_usage: bool = True) -> dict[str, Any]:
    """The JSON object to post. ``continuation`` says how a prefix is handed over; see OpenAICompatible."""
    body: dict[str, Any] = {
        name: value for name, value in prompt.parameters.items() if name not in _RESERVED and value is not None
    }
    body["model"] = prompt.model
    body["messages"] = [_message(message) for message in prompt.messages]
    body["stream"] = True
    if include_usage:
        body["stream_options"] = {"include_usage": True}
    if prompt.prefix:
        body["messages"].append({"role": "assistant", "content": prompt.prefix})
        if continuation == "vllm":
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        elif continuation == "instruction":
            body["messages"].append({"role": "user", "content": CONTINUE_INSTRUCTION})
    return body


def _message(message: ChatMessage) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        fields["content"] = message.content or None
        fields["tool_calls"] = [
            {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        fields["tool_call_id"] = message.tool_call_id
    return fields


class AnswerReader:
    """Reads one answer. Never raises: what went wrong is in ``failure``, after the pieces that came before it.

    ``done`` is set when nothing more can follow; then the last piece was a Finished, or ``failure`` is set.
    """

    __slots__ = (
        "_finish_reason",
        "_held",
        "_lenient",
        "_lessons",
        "_parser",
        "_pieces",
        "_secrets",
        "_template",
        "_tools",
        "_usage",
        "done",
        "failure",
    )

    def __init__(self, *, secrets: Iterable[str] = ()) -> None:
        self._parser = SseParser()
        self._secrets = tuple(secrets)
        self._pieces: list[Piece] = []
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._tools: list[str | None] = []  # ids of the calls seen, by index
        self._held: dict[str, str] = {}  # channel → a high surrogate waiting for its other half
        self._lenient = False
        self._template: Template | None = None
        self._lessons = 0
        self.done = False
        self.failure: ProviderError | None = None

    @property
    def finish_seen(self) -> bool:
        """Whether the upstream has named its finish reason: the text is then complete, even if the rest is lost."""
        return self._finish_reason is not None

    def feed(self, data: bytes) -> list[Piece]:
        """The pieces of one network read; the list is the caller's."""
        template = self._template
        if template is not None and self._parser.between_events and not (self.done or self._held):
            pieces = template.read(data)
            if pieces is not None:
                self._lessons = 0
                return pieces
        try:
            events = self._parser.feed(data)
        except EventTooLarge as error:
            self._fail(ProviderError("upstream_malformed", str(error), retryable=True))
            events = []
        return self._read(events)

    def close(self) -> list[Piece]:
        """The end of the body: the pieces left, and the verdict."""
        pieces = self._read(self._parser.close())
        self._conclude()
        return pieces + self._take()

    def feed_document(self, body: bytes) -> list[Piece]:
        """A whole answer in one JSON document, from an upstream that does not stream."""
        self._chunk(body)
        self._conclude()
        return self._take()

    def _read(self, events: list[SseEvent]) -> list[Piece]:
        for event in events:
            if self.done:
                break
            data = event.data
            if data == b"[DONE]" or data.strip() == b"[DONE]":
                self._conclude()
            elif event.name == "error":
                self._report(data)
            elif data:
                self._chunk(data)
                if self._lessons < _MAX_LESSONS:
                    self._lessons += 1
                    self._template = Template.of(data)
        return self._take()

    def _take(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces

    def _chunk(self, data: bytes) -> None:
        try:
            chunk = orjson.loads(data)
            self._lenient = False
        except orjson.JSONDecodeError:
            chunk = _loads_leniently(data)
            self._lenient = True
        if not isinstance(chunk, dict):
            self._fail(ProviderError("upstream_malformed", "The upstream sent something unreadable.", retryable=True))
            return
        try:
            if usage := chunk.get("usage"):
                self._usage = _usage(usage)
            for choice in chunk.get("choices") or ():
                self._choice(choice)
        except (AttributeError, TypeError, ValueError):
            self._fail(ProviderError("upstream_malformed", "The upstream sent a chunk we do not know.", retryable=True))
            return
        if error := chunk.get("error"):
            self._fail(from_event(error, secrets=self._secrets))
        elif self._finish_reason == "error":
            self._fail(from_event("", secrets=self._secrets))

    def _choice(self, choice: dict[str, Any]) -> None:
        if choice.get("index"):
            return  # a second answer; we never ask for one
        if delta := choice.get("delta") or choice.get("message"):
            if thought := _reasoning(delta):
                self._say(Thought, "thought", thought)
            if content := delta.get("content"):
                self._content(content)
            if refusal := delta.get("refusal"):
                self._content(refusal)
            if calls := delta.get("tool_calls"):
                for call in calls:
                    self._tool(call)
            elif function := delta.get("function_call"):
                self._tool({"index": 0, "function": function})
        if reason := choice.get("finish_reason"):
            self._finish_reason = _whole(str(reason))

    def _content(self, content: str | list[Any]) -> None:
        if isinstance(content, str):
            self._say(Text, "text", content)
            return
        for part in content:  # Mistral: [{"type": "text", "text": …}, {"type": "thinking", "thinking": […]}]
            if part.get("type") == "thinking":
                self._say(Thought, "thought", "".join(inner.get("text", "") for inner in part.get("thinking") or ()))
            elif text := part.get("text"):
                self._say(Text, "text", text)

    def _say(self, kind: type[Text] | type[Thought], channel: str, text: str) -> None:
        if text := self._clean(channel, text):
            self._pieces.append(kind(text))

    def _tool(self, call: dict[str, Any]) -> None:
        function = call.get("function") or {}
        call_id = call.get("id") or None
        index = self._tool_index(call.get("index"), call_id)
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):
            arguments = orjson.dumps(arguments).decode()
        name = function.get("name") or None
        arguments = self._clean(f"tool {index}", arguments)
        if call_id or name or arguments:
            self._pieces.append(ToolDelta(index, _whole(call_id), _whole(name), arguments))

    def _tool_index(self, index: int | None, call_id: str | None) -> int:
        """Some providers leave the index out: a new id is then a new call, and no id means the one before."""
        known = self._tools
        if index is None:
            if call_id is not None and call_id in known:
                index = known.index(call_id)
            else:
                index = len(known) if call_id is not None or not known else len(known) - 1
        if not 0 <= index < 1000:
            raise ValueError("tool call index out of range")
        while len(known) <= index:
            known.append(None)
        known[index] = call_id or known[index]
        return index

    def _clean(self, channel: str, text: str) -> str:
        """Text that every store and every encoder takes: no NUL, no lone surrogate; split pairs joined."""
        if "\0" in text:
            text = text.replace("\0", "\ufffd")
        if not (self._lenient or self._held):
            return text
        text = self._held.pop(channel, "") + text
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._held[channel] = text[-1]
            text = text[:-1]
        return _join_surrogates(text)

    def _report(self, data: bytes) -> None:
        error = _loads_leniently(data)
        if isinstance(error, dict):
            error = error.get("error", error)
        self._fail(from_event(error or data.decode("utf-8", "replace"), secrets=self._secrets))

    def _fail(self, failure: ProviderError) -> None:
        if not self.done:
            failure.usage = self._usage
            self.failure = failure
            self.done = True

    def _conclude(self) -> None:
        if self.done:
            return
        if self._finish_reason is None:
            message = "The upstream ended its answer without finishing it."
            self._fail(ProviderError("upstream_truncated", message, retryable=True))
            return
        for kind, channel in ((Thought, "thought"), (Text, "text")):
            if channel in self._held:
                self._pieces.append(kind("\ufffd"))
        self._pieces.append(Finished(self._finish_reason, self._usage))
        self.done = True


class Template:
    """What the chunks of one stream have in common, so that only their text needs to be parsed.

    Sound, because JSON knows no context: where one string literal may stand, any other may, and changes nothing
    else. That the literal is the text of the answer, and the chunk says nothing besides, is proved by reading the
    chunk with another text in it.
    """

    __slots__ = ("_before", "_begin", "_end", "_kind", "_last", "_shortest")

    def __init__(self, before: bytes, after: bytes, kind: type[Text] | type[Thought]) -> None:
        # With the quotes of the literal: JSON takes space around it, a line break too, and there must be none.
        self._before = before + b'"'
        self._last = b'"' + after + b"\n\n"
        self._kind = kind
        self._shortest = len(self._before) + len(self._last)
        self._begin, self._end = len(before), 1 - len(self._last)

    @classmethod
    def of(cls, chunk: bytes) -> Template | None:
        """The template of a chunk that adds text and does nothing else; otherwise None."""
        for literal in _LITERALS.finditer(chunk):
            before, after = chunk[: literal.start(1)], chunk[literal.end(1) :]
            reader = AnswerReader()
            reader._chunk(before + orjson.dumps(_PROBE) + after)
            if reader.failure or reader._finish_reason or reader._usage or len(reader._pieces) != 1:
                continue
            piece = reader._pieces[0]
            if isinstance(piece, (Text, Thought)) and piece.text == _PROBE:
                return cls(b"data: " + before, after, type(piece))
        return None

    def read(self, data: bytes) -> list[Piece] | None:
        """The pieces of a read made of whole events of this form only; None for any other."""
        text = self._text(data)
        if text is not None:  # one event, as nearly always
            return [self._kind(text)] if text else []
        pieces: list[Piece] = []
        events = data.split(b"\n\n")
        if events.pop():
            return None
        for event in events:
            text = self._text(event + b"\n\n")
            if text is None:
                return None
            if text:
                pieces.append(self._kind(text))
        return pieces

    def _text(self, event: bytes) -> str | None:
        """The text of one event of this form; None for anything else."""
        if len(event) < self._shortest or not (event.startswith(self._before) and event.endswith(self._last)):
            return None
        try:
            # What lies between its ends is one literal, or not JSON.
            text: str = orjson.loads(event[self._begin : self._end])
        except orjson.JSONDecodeError:
            return None
        return None if "\0" in text else text


def _reasoning(delta: dict[str, Any]) -> str:
    """The reasoning text of a delta. Where the same text comes under several names, one of them counts."""
    text = delta.get("reasoning_content") or delta.get("reasoning")
    if isinstance(text, str):
        return text
    details = delta.get("reasoning_details")
    if not details:
        return ""
    return "".join(part.get("text") or part.get("summary") or "" for part in details)


def _usage(fields: Any) -> Usage | None:
    try:
        cost = fields.get("cost")
        return Usage(
            input_tokens=_count(fields.get("prompt_tokens")),
            output_tokens=_count(fields.get("completion_tokens")),
            reasoning_tokens=_count((fields.get("completion_tokens_details") or {}).get("reasoning_tokens")),
            cached_tokens=_count((fields.get("prompt_tokens_details") or {}).get("cached_tokens")),
            cost=float(cost) if cost is not None and 0 <= float(cost) < MOST_COST else None,
        )
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None  # an odd bill is no reason to lose the answer


def _count(told: Any) -> int:
    """As many tokens as anybody can mean: a number beyond 64 bits cannot be encoded, one that is not finite stored."""
    return min(max(int(told or 0), 0), MOST_TOKENS)


def _loads_leniently(data: bytes) -> Any:
    """For what orjson rightly refuses: broken UTF-8 and halves of surrogate pairs. None when it is not JSON at all."""
    try:
        return json.loads(data.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError):
        return None


def _join_surrogates(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _whole(text: str | None) -> str | None:
    return None if text is None else _join_surrogates(text.replace("\0", "\ufffd"))
