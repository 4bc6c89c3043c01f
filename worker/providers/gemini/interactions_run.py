"""One run of Gemini's Interactions, pure: the bytes of its streams to pieces.

A run may be read over several connections. The events have ids without an order, so the reader counts them: a body
goes on behind the event that it was requested behind, and events with a number that was read are left out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from app.domain.usage import MOST_TOKENS
from worker.limits import Limits
from worker.providers.base import Finished, Piece, ProviderError, Usage
from worker.providers.gemini.interactions_steps import RunSteps, named
from worker.providers.reading.native_usage import count
from worker.providers.reading.upstream_errors import from_event
from worker.providers.runs.reader import Event, RunReader, is_id

# The last events whose ids are kept: a body may begin with one of them.
RECENT_EVENTS = 1000
_FAILED = frozenset({"failed", "cancelled"})
_LENGTH = frozenset({"incomplete", "budget_exceeded", "requires_continuation"})
_ENDED = _FAILED | _LENGTH | {"completed", "requires_action", "idle"}
# The codes of errors that are not numbers, as they are in the API's other errors.
_STATUSES = {
    "invalid_argument": 400,
    "invalid_request": 400,
    "failed_precondition": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "resource_exhausted": 429,
    "internal": 500,
    "unavailable": 503,
    "deadline_exceeded": 504,
    "gateway_timeout": 504,
}


class InteractionReader(RunReader):
    """Reads one run. Calls beyond ``most_calls`` are left out.

    An event ``error`` may be of the connection or of the run: the run has failed when a second one comes without
    anything between them, or when the object of the run says so.
    """

    def __init__(
        self,
        *,
        secrets: Iterable[str] = (),
        limits: Limits = Limits(),  # noqa: B008  # frozen
        most_calls: int | None = None,
    ) -> None:
        super().__init__(secrets=secrets, limits=limits)
        self._steps = RunSteps(limits, most_calls)
        self._recent: OrderedDict[str, int] = OrderedDict()  # the numbers of the last events by their ids
        self._number: int | None = None  # of the last event of this body
        self._error: tuple[int, ProviderError] | None = None  # the last error event, and the number before it

    def attach(self, run_id: str) -> None:
        """See RunReader.attach."""
        self.run_id = run_id

    def query(self) -> str:
        """See RunReader.query. Without ids the run is read from its beginning."""
        last = next(reversed(self._recent), None)
        return "?stream=true" if last is None else f"?stream=true&last_event_id={quote(last, safe='')}"

    def reconnect(self) -> None:
        """See RunReader.reconnect."""
        super().reconnect()
        self._number = None

    def _is_next(self, event: Event) -> bool:
        kind, given = named(event.get("event_type") or event.get("type")), event.get("event_id")
        event_id = named(given) if is_id(given) else ""
        is_counted = kind != "error" and (bool(event_id) or kind.startswith("step."))
        if self._number is None and (is_counted or kind == "interaction.created"):
            self._number = self._place_before(kind, event_id)
        if not is_counted or self._number is None:
            return True
        self._number += 1
        if self._number <= self.sequence:
            return False
        self.sequence = self._number
        if event_id:
            self._recent[event_id] = self.sequence
            self._recent.move_to_end(event_id)
            if len(self._recent) > RECENT_EVENTS:
                self._recent.popitem(last=False)
        return True

    def _place_before(self, kind: str, event_id: str) -> int:
        """The number in front of a body's first event."""
        if event_id in self._recent:
            return self._recent[event_id] - 1
        if kind == "interaction.created" or not self._recent:
            return -1
        return next(reversed(self._recent.values()))

    def _as_event(self, run: Event) -> Event:
        kind = "interaction.completed" if named(run.get("status")) in _ENDED else "interaction.created"
        return {"event_type": kind, "interaction": run}

    def _pieces(self) -> list[Piece]:
        return self._steps.take()

    def _receive(self, event: Event) -> None:
        kind = event.get("event_type") or event.get("type")
        if kind == "step.delta":
            self._steps.add(event.get("index", 0), event["delta"])
        elif kind == "step.start":
            self._steps.start(event.get("index", 0), event["step"])
        elif kind == "step.stop":
            self._steps.stop(event.get("index", 0))
        elif isinstance(run := event.get("interaction"), dict):
            self._state(run, is_over=kind == "interaction.completed")
        elif kind == "error" or event.get("error"):
            self._failed(event.get("error") or event)
        if usage := _usage(event.get("usage")):
            self.usage = usage

    def _state(self, run: dict[str, Any], *, is_over: bool) -> None:
        """Read what an event, or the object of the run, says about the whole run."""
        if self.run_id is None and is_id(run_id := run.get("id")):
            self.run_id = run_id
        if not is_over:
            return
        status = named(run.get("status"))
        self.usage = _usage(run.get("usage")) or self.usage
        self._steps.complete(run.get("steps") or [])
        self._steps.close()
        if status in _FAILED:
            self._fail(self._error[1] if self._error else self._broken_off(status, _error_in(run)))
            return
        self._last.append(Finished(self._reason(status), self.usage))
        self.ended = True

    def _reason(self, status: str) -> str:
        if status in _LENGTH:
            return "length"
        return "tool_calls" if self._steps.calls else "stop"

    def _failed(self, error: Any) -> None:
        if isinstance(error, dict):
            code = named(error.get("code") or error.get("status")).rpartition("/")[2].lower()
            error = {**error, "code": _STATUSES.get(code, error.get("code"))}
        failure = from_event(error, secrets=self._secrets)
        if self.run_id is None or (self._error and self._error[0] == self.sequence):
            self._fail(failure)
        self._error = self.sequence, failure


def _error_in(run: dict[str, Any]) -> Any:
    """The error of a run that has failed: its own, or that of its last step."""
    steps = [step for step in run.get("steps") or () if isinstance(step.get("error"), dict)]
    return run.get("error") or (steps[-1]["error"] if steps else "")


def _usage(told: Any) -> Usage | None:
    """The tokens of a run; None without any count. Thoughts are counted beside the output."""
    if not isinstance(told, Mapping) or not told:
        return None
    thoughts = count(told.get("total_thought_tokens"))
    asked = count(told.get("total_input_tokens")) + count(told.get("total_tool_use_tokens"))
    return Usage(
        input_tokens=min(asked, MOST_TOKENS),
        output_tokens=min(count(told.get("total_output_tokens")) + thoughts, MOST_TOKENS),
        reasoning_tokens=thoughts,
        cached_tokens=count(told.get("total_cached_tokens")),
    )
