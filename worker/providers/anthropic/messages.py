"""The stream of Anthropic's Messages API, pure: the bytes of an answer to pieces.

An answer is complete with ``message_stop`` only. Events, blocks and deltas of an unknown type are skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from worker.limits import Limits
from worker.providers.anthropic.blocks import Block, Blocks
from worker.providers.base import ALIVE, Finished, Piece, ProviderError, Usage
from worker.providers.reading.clean_text import JsonText, joined
from worker.providers.reading.framing import ChatParser
from worker.providers.reading.native_usage import usage_of
from worker.providers.reading.sse import SseEvent
from worker.providers.reading.upstream_errors import from_event

_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
# The status that each error has outside a stream. Errors inside one have none.
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class MessageReader:
    """A BodyReader of one answer.

    ``first_call`` is the number of tool calls that the answer has already. A ``paused`` turn is sent back with its
    ``content`` and goes on.
    """

    def __init__(
        self,
        *,
        secrets: Iterable[str] = (),
        limits: Limits = Limits(),  # noqa: B008  # frozen
        first_call: int = 0,
    ) -> None:
        self._secrets = tuple(secrets)
        self._limits = limits
        self._parser = ChatParser(limits.event_bytes)
        self._json = JsonText()
        self._blocks = Blocks(self._json, limits, first_call)
        self._usage: dict[str, Any] = {}
        self._reason: str | None = None
        self.paused = False
        self.done = False
        self.failure: ProviderError | None = None

    @property
    def finish_seen(self) -> bool:
        """True when the answer is complete."""
        return self.done and self.failure is None

    @property
    def usage(self) -> Usage | None:
        """The usage that the upstream has reported until now; later output is estimated."""
        return usage_of(self._usage, said_chars=0 if self.finish_seen else self._blocks.said_chars)

    @property
    def calls(self) -> int:
        """The number of tool calls of the answer until now."""
        return self._blocks.calls

    @property
    def content(self) -> list[Block]:
        """The blocks of a paused turn, as they are sent back."""
        return self._blocks.kept

    def feed(self, data: bytes) -> list[Piece]:
        """See BodyReader.feed. A read without a piece, in which events ended, shows that the upstream is alive."""
        events = self._parser.feed(data)
        pieces = self._read(events)
        if self._parser.overflown:
            self._fail(self._limits.exceeded("event_bytes"))
        return pieces or ([ALIVE] if events and not self.done else [])

    def close(self) -> list[Piece]:
        """See BodyReader.close."""
        pieces = self._read(self._parser.close())
        message = "The upstream ended its answer without finishing it."
        self._fail(ProviderError("upstream_truncated", message, retryable=True))
        return pieces

    def feed_document(self, body: bytes) -> list[Piece]:
        """See BodyReader.feed_document."""
        message = self._object(body)
        pieces = self._event(message) if message is not None else []
        return pieces + self.close()

    def _message(self, message: Mapping[str, Any]) -> list[Piece]:
        """The pieces of a whole message, from an upstream that does not stream."""
        pieces = self._event({"type": "message_start", "message": message})
        content = message.get("content")
        for index, block in enumerate(content if isinstance(content, list) else ()):
            pieces += self._event({"type": "content_block_start", "index": index, "content_block": block})
            pieces += self._event({"type": "content_block_stop", "index": index})
        pieces += self._event({"type": "message_delta", "delta": message, "usage": message.get("usage")})
        return pieces + self._event({"type": "message_stop"})

    def _read(self, events: list[SseEvent]) -> list[Piece]:
        if self._parser.is_page:
            # A login page or a wrong address; a retry would read the same.
            message = "The upstream answered with a web page."
            self._fail(ProviderError("upstream_malformed", message, retryable=False))
        pieces: list[Piece] = []
        for event in events:
            if self.done:
                break
            body = self._object(event.data)
            if body is not None:
                pieces += self._event(body)
        return pieces

    def _object(self, data: bytes) -> dict[str, Any] | None:
        """The object in an event; None for what is none. Half an object means that something is lost."""
        try:
            value = self._json.loads(data)
        except ValueError:
            if data.lstrip().startswith(b"{"):
                message = "The upstream sent something unreadable."
                self._fail(ProviderError("upstream_malformed", message, retryable=True))
            return None
        return value if isinstance(value, dict) else None

    def _event(self, event: Mapping[str, Any]) -> list[Piece]:
        if self.done:
            return []
        try:
            kind = event.get("type")
            if kind == "content_block_delta":
                return self._blocks.add(event.get("index"), event["delta"])
            if kind == "content_block_start":
                return self._blocks.begin(event.get("index"), event["content_block"])
            if kind == "content_block_stop":
                return self._blocks.end(event.get("index"))
            if kind == "message_stop":
                return self._finish()
            if kind == "message_start":
                self._count((event.get("message") or {}).get("usage"))
            elif kind == "message_delta":
                self._count(event.get("usage"))
                if reason := (event.get("delta") or {}).get("stop_reason"):
                    self._reason = joined(str(reason).replace("\0", ""))
            elif kind == "message":
                return self._message(event)
            elif kind == "error" or (kind is None and event.get("error")):
                self._report(event.get("error"))
        except ProviderError as limit:
            self._fail(limit)
        except (AttributeError, KeyError, TypeError, ValueError):
            message = "The upstream sent an event we do not know."
            self._fail(ProviderError("upstream_malformed", message, retryable=True))
        return []

    def _finish(self) -> list[Piece]:
        pieces = self._blocks.end_all()
        self.done = True
        self.paused = self._reason == "pause_turn"
        if not self.paused:
            reason = self._reason or ("tool_calls" if self._blocks.calls else "stop")
            pieces.append(Finished(_REASONS.get(reason, reason), self.usage))
        return pieces

    def _count(self, usage: Any) -> None:
        """Later counts replace earlier ones: they are cumulative."""
        if isinstance(usage, Mapping):
            self._usage |= {name: value for name, value in usage.items() if value is not None}
            self._blocks.said_chars = 0 if usage.get("output_tokens") else self._blocks.said_chars

    def _report(self, error: Any) -> None:
        fields = dict(error) if isinstance(error, Mapping) else {"message": str(error)}
        if status := _STATUSES.get(str(fields.get("type"))):
            fields["code"] = status
        self._fail(from_event(fields, secrets=self._secrets))

    def _fail(self, failure: ProviderError) -> None:
        if not self.done:
            failure.usage = failure.usage or self.usage
            self.failure = failure
            self.done = True
