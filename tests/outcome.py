"""The outcome of a read answer, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

from worker.calls import Calls
from worker.limits import Limits
from worker.providers.base import Finished, Piece, ProviderError, Text, Thought, ToolDelta


class Reader(Protocol):
    """Any reader of an answer. ``failure`` is known when all of the answer has been read."""

    failure: ProviderError | None


def summary(reader: Reader, pieces: Sequence[Piece]) -> dict[str, Any]:
    """The outcome of an answer in the form of the expectations in ``tests/transcripts/``."""
    failure = reader.failure
    calls = Calls(Limits())
    for piece in pieces:
        if isinstance(piece, ToolDelta):
            calls.add(piece)
    ends = [piece for piece in pieces if isinstance(piece, Finished)]
    assert len(ends) == (failure is None)
    assert not ends or pieces[-1] is ends[0]
    usage = asdict(ends[0].usage) if ends and ends[0].usage else None
    return {
        "text": "".join(piece.text for piece in pieces if isinstance(piece, Text)),
        "reasoning": "".join(piece.text for piece in pieces if isinstance(piece, Thought)),
        "tools": [
            {"id": call.call_id, "name": call.name, "arguments": call.arguments, "extra": call.extra}
            for call in calls.whole()
        ],
        "finish_reason": ends[0].finish_reason if ends else None,
        "usage": usage and {name: value for name, value in usage.items() if name != "cost" and value is not None},
        "error": failure and {"code": failure.code, "status": failure.upstream_status, "retryable": failure.retryable},
    }
