"""The stream of Gemini's ``streamGenerateContent``, pure: the bytes of an answer to pieces.

Each event is a whole response. An answer is complete when a finish reason, or the reason of a blocked prompt, came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from app.domain.usage import MOST_TOKENS, estimated_tokens
from worker.limits import Limits
from worker.providers.base import ALIVE, Finished, Piece, ProviderError, Text, Thought, Usage
from worker.providers.gemini.calls import FunctionCalls
from worker.providers.reading.clean_text import JsonText, joined
from worker.providers.reading.framing import ChatParser
from worker.providers.reading.native_usage import count
from worker.providers.reading.sse import SseEvent
from worker.providers.reading.upstream_errors import from_event

_FILTERED = frozenset(
    {"BLOCKLIST", "LANGUAGE", "MODEL_ARMOR", "PROHIBITED_CONTENT", "RECITATION", "SAFETY", "SPII"}
)  # fmt: skip
# Reasons of an answer that failed, and whether another attempt may succeed.
_FAILED = {
    "MALFORMED_FUNCTION_CALL": True,
    "MALFORMED_RESPONSE": True,
    "MISSING_THOUGHT_SIGNATURE": False,
    "OTHER": True,
    "TOO_MANY_TOOL_CALLS": False,
    "UNEXPECTED_TOOL_CALL": True,
}
_STATUSES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


class ContentReader:
    """A BodyReader of one answer.

    ``first_call`` is the number of tool calls that the answer has already; calls beyond ``most_calls`` are left out.
    ``token`` is set where the upstream has more to say: a request with it goes on with the answer.
    """

    def __init__(
        self,
        *,
        secrets: Iterable[str] = (),
        limits: Limits = Limits(),  # noqa: B008  # frozen
        first_call: int = 0,
        most_calls: int | None = None,
    ) -> None:
        self._secrets = tuple(secrets)
        self._limits = limits
        self._parser = ChatParser(limits.event_bytes)
        self._json = JsonText()
        self._calls = FunctionCalls(self._json, limits, first_call, most_calls)
        self._counts: Mapping[str, Any] = {}
        self._said_chars = 0
        self._reason: str | None = None
        self._token: str | None = None
        self.token: str | None = None
        self.done = False
        self.failure: ProviderError | None = None

    @property
    def finish_seen(self) -> bool:
        """True when the upstream has named the reason of an end that is no failure."""
        return self._reason is not None and self._reason not in _FAILED and self.failure is None

    @property
    def usage(self) -> Usage | None:
        """The usage that the upstream has reported until now; later output is estimated."""
        counts = self._counts
        if not counts:
            return None
        thoughts = count(counts.get("thoughtsTokenCount"))
        said = count(counts.get("candidatesTokenCount")) + thoughts
        return Usage(
            input_tokens=count(counts.get("promptTokenCount")) + count(counts.get("toolUsePromptTokenCount")),
            output_tokens=min(said + estimated_tokens(self._said_chars), MOST_TOKENS),
            reasoning_tokens=thoughts,
            cached_tokens=count(counts.get("cachedContentTokenCount")),
        )

    @property
    def calls(self) -> int:
        """The number of tool calls of the answer until now."""
        return self._calls.number

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
        return pieces + self._conclude()

    def feed_document(self, body: bytes) -> list[Piece]:
        """See BodyReader.feed_document. Without ``alt=sse`` the API sends an array of responses."""
        return self._responses(self._value(body)) + self._conclude()

    def _read(self, events: list[SseEvent]) -> list[Piece]:
        if self._parser.is_page:
            # A login page or a wrong address; a retry would read the same.
            message = "The upstream answered with a web page."
            self._fail(ProviderError("upstream_malformed", message, retryable=False))
        pieces: list[Piece] = []
        for event in events:
            pieces += [] if self.done else self._responses(self._value(event.data))
        return pieces

    def _responses(self, value: Any) -> list[Piece]:
        """The pieces of a response, or of an array of them: without ``alt=sse``, and around some errors."""
        responses = value if isinstance(value, list) else [value]
        return [piece for one in responses if isinstance(one, dict) for piece in self._response(one)]

    def _value(self, data: bytes) -> Any:
        """The JSON in an event; None for what is none. Half an object means that something is lost."""
        try:
            return self._json.loads(data)
        except ValueError:
            if self._reason is None and data.lstrip().startswith(b"{"):
                message = "The upstream sent something unreadable."
                self._fail(ProviderError("upstream_malformed", message, retryable=True))
            return None

    def _response(self, response: Mapping[str, Any]) -> list[Piece]:
        if self.done:
            return []
        pieces: list[Piece] = []
        try:
            if error := response.get("error"):
                if self._reason is None:
                    self._report(error)
                return []
            for candidate in response.get("candidates") or ():
                if not candidate.get("index"):
                    self._candidate(candidate, pieces)
            if reason := (response.get("promptFeedback") or {}).get("blockReason"):
                self._reason = self._reason or f"blocked {reason}"
            if isinstance(counts := response.get("usageMetadata"), Mapping):
                self._counts, self._said_chars = counts, 0
        except ProviderError as limit:
            self._fail(limit)
        except (AttributeError, KeyError, TypeError, ValueError):
            message = "The upstream sent a response we do not know."
            self._fail(ProviderError("upstream_malformed", message, retryable=True))
        return pieces

    def _candidate(self, candidate: Mapping[str, Any], pieces: list[Piece]) -> None:
        """Add what a candidate says. ``pieces`` has what came before a failure."""
        for part in (candidate.get("content") or {}).get("parts") or ():
            if text := part.get("text"):
                is_thought = part.get("thought") is True
                if text := self._json.clean("thought" if is_thought else "text", text):
                    self._said_chars += len(text)
                    pieces.append(Thought(text) if is_thought else Text(text))
            elif isinstance(call := part.get("functionCall"), Mapping):
                pieces += self._calls.add(call, part.get("thoughtSignature"))
        if token := candidate.get("continuationToken"):
            self._token = str(token)
        if reason := candidate.get("finishReason"):
            self._reason = joined(str(reason).replace("\0", ""))

    def _conclude(self) -> list[Piece]:
        """The end of the body: the last piece, or the failure."""
        if self.done:
            return []
        reason = self._reason
        if reason is None:
            message = "The upstream ended its answer without finishing it."
            self._fail(ProviderError("upstream_truncated", message, retryable=True))
            return []
        if reason in _FAILED or (reason == "CONTINUATION" and not self._token):
            message = f"The upstream ended its answer with the reason {reason}."
            self._fail(ProviderError("upstream_error", message, retryable=_FAILED.get(reason, True)))
            return []
        try:
            pieces = self._calls.end()
        except ProviderError as limit:
            self._fail(limit)
            return []
        except (TypeError, ValueError):
            message = "The upstream sent a call that cannot be read."
            self._fail(ProviderError("upstream_malformed", message, retryable=True))
            return []
        pieces += [Thought(rest)] if (rest := self._json.left("thought")) else []
        pieces += [Text(rest)] if (rest := self._json.left("text")) else []
        self.done = True
        if reason == "CONTINUATION":
            self.token = self._token
        else:
            pieces.append(Finished(self._finish_reason(reason), self.usage))
        return pieces

    def _finish_reason(self, reason: str) -> str:
        if reason in _FILTERED or reason.startswith(("blocked ", "IMAGE_")):
            return "content_filter"
        if reason == "STOP":
            return "tool_calls" if self._calls.number else "stop"
        return "length" if reason == "MAX_TOKENS" else reason

    def _report(self, error: Any) -> None:
        fields = dict(error) if isinstance(error, Mapping) else {"message": str(error)}
        fields.setdefault("code", _STATUSES.get(str(fields.get("status"))))
        self._fail(from_event(fields, secrets=self._secrets))

    def _fail(self, failure: ProviderError) -> None:
        if not self.done:
            failure.usage = failure.usage or self.usage
            self.failure = failure
            self.done = True
