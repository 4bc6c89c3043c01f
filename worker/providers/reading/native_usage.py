"""The usage of an answer that takes several requests, and the counts of Anthropic's Messages API. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.domain.usage import MOST_TOKENS, estimated_tokens
from worker.providers.base import Emit, Finished, Piece, Usage

_INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def usage_of(counts: Mapping[str, Any], said_chars: int = 0) -> Usage | None:
    """The tokens of a call; None without any count.

    The API counts cached tokens beside ``input_tokens``; here they are a part of them. ``said_chars`` were sent after
    the last count; their tokens are estimated.
    """
    if not counts:
        return None
    details = counts.get("output_tokens_details")
    thinking = details.get("thinking_tokens") if isinstance(details, Mapping) else 0
    return Usage(
        input_tokens=min(sum(count(counts.get(name)) for name in _INPUT), MOST_TOKENS),
        output_tokens=min(count(counts.get("output_tokens")) + estimated_tokens(said_chars), MOST_TOKENS),
        reasoning_tokens=count(thinking),
        cached_tokens=count(counts.get("cache_read_input_tokens")),
        cache_write_tokens=count(counts.get("cache_creation_input_tokens")) or None,
    )


def count(value: Any) -> int:
    """A number of tokens from 0 to MOST_TOKENS; 0 for what is no number."""
    try:
        return min(max(int(value or 0), 0), MOST_TOKENS)
    except (TypeError, ValueError, OverflowError):
        return 0


def added(first: Usage | None, second: Usage | None) -> Usage | None:
    """The usage of two requests for one answer."""
    if first is None or second is None:
        return first or second
    return Usage(
        first.input_tokens + second.input_tokens,
        first.output_tokens + second.output_tokens,
        first.reasoning_tokens + second.reasoning_tokens,
        first.cached_tokens + second.cached_tokens,
        cache_write_tokens=(first.cache_write_tokens or 0) + (second.cache_write_tokens or 0) or None,
    )


def with_usage(emit: Emit, earlier: Usage | None) -> Emit:
    """``emit`` for a request that goes on with an answer: its usage includes that of the earlier requests."""
    if earlier is None:
        return emit

    def counted(piece: Piece) -> Piece:
        return Finished(piece.finish_reason, added(earlier, piece.usage)) if isinstance(piece, Finished) else piece

    return lambda pieces: emit([counted(piece) for piece in pieces])
