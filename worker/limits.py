"""The largest size of an answer and of its parts. An answer that exceeds a limit ends there; its error names the limit.

The text before the limit is kept. No attempt follows: it would end in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.config import Settings
from worker.providers.base import AnswerTooLarge

_WHAT = {
    "answer_chars": ("MAX_ANSWER_CHARS", "The answer has more than {} characters"),
    "tool_calls": ("MAX_TOOL_CALLS", "The answer calls more than {} tools"),
    "tool_argument_chars": ("MAX_TOOL_ARGUMENT_CHARS", "The arguments of the tool calls have more than {} characters"),
    "name_chars": ("MAX_UPSTREAM_NAME_CHARS", "The upstream sent a name or a finish reason of more than {} characters"),
    "call_id_chars": ("MAX_TOOL_CALL_ID_CHARS", "The upstream sent a tool call's id of more than {} characters"),
    "event_bytes": ("MAX_UPSTREAM_EVENT_BYTES", "The upstream sent an event of more than {} bytes"),
    "header_bytes": ("MAX_UPSTREAM_HEADER_BYTES", "The upstream sent headers of more than {} bytes"),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a deployment; ``answer_chars`` counts text and reasoning together.

    ``silence`` is the smaller one of FIRST_TOKEN_TIMEOUT and TOKEN_TIMEOUT, in seconds.
    """

    answer_chars: int = 4_000_000
    tool_calls: int = 128
    tool_argument_chars: int = 1_000_000
    name_chars: int = 256
    call_id_chars: int = 16_384
    event_bytes: int = 1_048_576
    header_bytes: int = 65_536
    silence: float = 60.0

    def exceeded(self, limit: str) -> AnswerTooLarge:
        """The error of an answer that exceeds the limit in this field."""
        variable, what = _WHAT[limit]
        message = f"{what.format(getattr(self, limit))}, which is the limit {variable}; it was ended there."
        return AnswerTooLarge(variable, message, finish_reason="length" if limit == "answer_chars" else "error")


def limits_of(settings: Settings) -> Limits:
    """The limits of the settings."""
    return Limits(
        answer_chars=settings.max_answer_chars,
        tool_calls=settings.max_tool_calls,
        tool_argument_chars=settings.max_tool_argument_chars,
        name_chars=settings.max_upstream_name_chars,
        call_id_chars=settings.max_tool_call_id_chars,
        event_bytes=settings.max_upstream_event_bytes,
        header_bytes=settings.max_upstream_header_bytes,
        silence=min(settings.first_token_timeout, settings.token_timeout),
    )
