"""One run of an upstream that speaks OpenAI's Responses API, pure: the bytes of its streams to pieces.

A run may be read over several connections: each event has a number, and numbers that were read are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from app.domain.usage import MOST_TOKENS
from worker.limits import Limits
from worker.providers.base import Finished, Piece, ProviderError, Usage
from worker.providers.reading.upstream_errors import from_event
from worker.providers.responses.items import Place, RunItems
from worker.providers.runs.reader import Event, RunReader, is_id

_ENDED = frozenset({"completed", "incomplete", "failed", "cancelled"})
# The errors of a run that a further attempt would repeat.
_FINAL_CODES = frozenset({"invalid_prompt", "invalid_image", "image_too_large", "image_content_policy_violation"})


class ResponseReader(RunReader):
    """Reads one run. ``is_numbered``: the upstream numbers the events itself."""

    def __init__(self, *, secrets: Iterable[str] = (), limits: Limits = Limits()) -> None:  # noqa: B008  # frozen
        super().__init__(secrets=secrets, limits=limits)
        self._items = RunItems(limits)
        self._gap_behind: int | None = None
        self._unnumbered = 0
        self.is_numbered = True

    def attach(self, run_id: str) -> None:
        """Begin to read a known run. Its first event is ``created``, which says no more than the id."""
        self.run_id, self.sequence = run_id, 0

    def query(self) -> str:
        """The query of the request for the events that were not read yet.

        Without numbers the upstream cannot know where to go on: what was read is left out here.
        """
        return f"?stream=true&starting_after={max(self.sequence, 0)}" if self.is_numbered else "?stream=true"

    def reconnect(self) -> None:
        """See RunReader.reconnect."""
        super().reconnect()
        self._unnumbered = 0

    def _is_next(self, event: Event) -> bool:
        number = self._number(event)
        if number is None:
            return True
        if number <= self.sequence:
            return False
        if self._is_gap(number):
            self._is_unreadable = True
            return False
        self.sequence = number
        return True

    def _number(self, event: dict[str, Any]) -> int | None:
        """The number of an event of the run. Where an upstream gives none, a body begins with the run's first event."""
        number = event.get("sequence_number")
        if type(number) is int:
            return number
        if not str(event.get("type")).startswith("response."):
            return None
        self._unnumbered += 1
        self.is_numbered = False
        return self._unnumbered - 1

    def _is_gap(self, number: int) -> bool:
        """True when events before this one are missing. An upstream that leaves them out again numbers them so."""
        if self.sequence < 0 or number == self.sequence + 1 or self._gap_behind == self.sequence:
            return False
        self._gap_behind = self.sequence
        return True

    def _as_event(self, run: Event) -> Event:
        return {"response": run}

    def _pieces(self) -> list[Piece]:
        return self._items.take()

    def _receive(self, event: Event) -> None:
        if isinstance(response := event.get("response"), dict):
            self._state(response)
        elif event.get("error") or event.get("type") == "error":
            self._fail(from_event(event.get("error") or event, secrets=self._secrets))
        else:
            self._part(str(event.get("type") or "").removeprefix("response."), event)

    def _part(self, kind: str, event: dict[str, Any]) -> None:
        """Read an event about a part of the output; others are ignored."""
        items = self._items
        name, _, step = kind.rpartition(".")
        if name in ("output_text", "refusal", "reasoning_summary_text", "reasoning_text"):
            is_thinking = name.startswith("reasoning")
            if step == "delta":
                items.say(_place(event), event["delta"], thinking=is_thinking)
            elif step == "done":
                items.complete(_place(event), event.get("text") or event.get("refusal") or "", thinking=is_thinking)
        elif kind == "function_call_arguments.delta":
            items.add_arguments(event["output_index"], event["delta"])
        elif kind == "output_item.added":
            items.begin_item(event["output_index"], event["item"])
        elif kind == "output_item.done":
            items.end_item(event["output_index"], event["item"])

    def _state(self, response: dict[str, Any]) -> None:
        """Read the object of the run: its id, and its end if that has come."""
        if self.run_id is None and is_id(run_id := response.get("id")):
            self.run_id = run_id
        status = response.get("status")
        if status not in _ENDED:
            return
        for index, item in enumerate(response.get("output") or ()):
            self._items.end_item(index, item)
        self._items.close()
        self.usage = _usage(response.get("usage"))
        if status in ("failed", "cancelled"):
            self._fail(self._broken_off(status, response.get("error")))
            return
        self._last.append(Finished(self._reason(status, response.get("incomplete_details")), self.usage))
        self.ended = True

    def _reason(self, status: str, details: Any) -> str:
        if status == "incomplete":
            reason = details.get("reason") if isinstance(details, dict) else None
            return "content_filter" if reason == "content_filter" else "length"
        return "tool_calls" if self._items.calls else "stop"

    def _broken_off(self, status: str, error: Any) -> ProviderError:
        failure = super()._broken_off(status, error)
        if status == "failed" and isinstance(error, dict) and error.get("code") in _FINAL_CODES:
            failure.retryable = False
        return failure


def _place(event: dict[str, Any]) -> Place:
    """The part of the run that an event belongs to."""
    if "summary_index" in event:
        return event["output_index"], "summary", event["summary_index"]
    return event["output_index"], "content", event.get("content_index", 0)


def _usage(told: Any) -> Usage | None:
    try:
        cached = told.get("input_tokens_details") or {}
        return Usage(
            input_tokens=_count(told.get("input_tokens")),
            output_tokens=_count(told.get("output_tokens")),
            reasoning_tokens=_count((told.get("output_tokens_details") or {}).get("reasoning_tokens")),
            cached_tokens=_count(cached.get("cached_tokens")),
            cache_write_tokens=_count(cached.get("cache_write_tokens")) or None,
        )
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None  # an odd bill is no reason to lose the answer


def _count(told: Any) -> int:
    """A number of tokens from 0 to MOST_TOKENS: JSON takes 64 bits at most."""
    return min(max(int(told or 0), 0), MOST_TOKENS)
