"""The log of a generation as the event stream of OpenAI's Responses API. Pure: no clock, no input or output.

``sequence_number`` counts the events since the beginning of the log, so each reader finds an event under one number, at
any time. A client that resumes names the last number it has; the translator folds the log from its start and writes
only the events past that number.

The protocols differ in three ways (docs/clients/responses.md):
- OpenAI has no reset. A restarted answer that contradicts the text a client has closes the current item as
  ``incomplete`` and goes on in a new item. The deltas still add up to the output that is kept.
- OpenAI has no event for a cancel. The stream ends with ``response.incomplete``, and the status is ``cancelled``.
- A tool call is sent at the end, when it is final: a client never sees a call that a retry replaces.
"""

from __future__ import annotations

from typing import Any

from app.api.openai.event_writer import NOTHING, EventWriter
from app.api.openai.output_items import OutputItems
from app.api.openai.response_fields import BROKEN_OFF, CUT_SHORT, error, usage
from app.api.openai.revision_diff import Kind, RevisionDiff
from app.domain.cursor import Cursor
from app.domain.events import Done, Reasoning, Refusal, Snapshot, Token, Tool, decode, escaped_text

_EVENTS: dict[Kind, type[Token] | type[Reasoning]] = {"text": Token, "reasoning": Reasoning}
# No event of a log has a number past this one.
_SILENT = 2**62


class ResponseTranslator:
    """Folds a log, entry by entry, and returns the events of the Responses stream as frames.

    ``base`` is the response object without the fields that the log decides (request_mapping.base). ``message_id`` is
    the id of the answer. Frames are returned for the events past ``after`` only; ``retry`` precedes the first of them.
    ``silent``: no frame is ever returned, for a caller that needs the object only.
    """

    def __init__(
        self,
        base: dict[str, Any],
        message_id: str,
        *,
        after: int = NOTHING,
        retry: bytes = b"",
        silent: bool = False,
    ) -> None:
        self._base = base
        self._writer = EventWriter(_SILENT if silent else after, retry)
        self._items = OutputItems(self._writer, message_id)
        # Set while a new revision repeats text that clients have already.
        self._diff: RevisionDiff | None = None
        self._tools: dict[str, Tool] = {}
        self._begun = False
        self._status = "queued" if base["background"] else "in_progress"
        self._ending: dict[str, Any] = {}

    @property
    def last(self) -> int:
        """The number of the last event so far; -1 before the first."""
        return self._writer.number - 1

    @property
    def ended(self) -> bool:
        """True when the terminal event has been written."""
        return bool(self._ending)

    def opening(self) -> bytes:
        """The events before the first entry of the log. To be called once, and first."""
        self._emit_response("response.created")
        if self._base["background"]:
            self._emit_response("response.queued")
        return self._writer.take()

    def render(self, cursor: Cursor, payload: bytes) -> bytes:
        """The frames for the next entry of the log; empty when the entry has no event here."""
        item = self._items.open
        escaped = escaped_text(payload, _EVENTS[item.kind]) if item is not None and self._diff is None else None
        if item is not None and escaped is not None:
            # Nearly all entries: JSON text goes from the log to the frame without being decoded.
            return self._items.grow(item, escaped)
        self._fold(payload)
        return self._writer.take()

    def response(self) -> dict[str, Any]:
        """The response object as far as the log has been folded."""
        return {**self._base, "status": self._status, "output": self._items.view(), **self._ending}

    def _fold(self, payload: bytes) -> None:
        match decode(payload):
            case Snapshot() as snapshot:
                self._on_snapshot(snapshot)
            case Token(content):
                self._on_text("text", content)
            case Reasoning(content):
                self._on_text("reasoning", content)
            case Tool() as call:
                self._tools[call.call_id] = call
            case Refusal():
                self._items.refuse()
            case Done() as done:
                self._on_done(done)
            case _:
                pass

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        if snapshot.forgets_calls:
            self._tools.clear()
            self._items.refused = False
        if not self._begun and snapshot.reason != "cancel":
            self._begun, self._status = True, "in_progress"
            self._emit_response("response.in_progress")
        self._diff = RevisionDiff(snapshot, self._items.text("reasoning"), self._items.text("text"))
        self._apply_diff()

    def _on_text(self, kind: Kind, content: str) -> None:
        if self._diff is None:
            self._items.append(kind, content)
        else:
            self._diff.add(kind, content)
            self._apply_diff()

    def _apply_diff(self) -> None:
        """Go on where the revision goes beyond the known text; begin a new answer where it contradicts that text."""
        assert self._diff is not None
        if self._diff.diverged:
            self._replace_answer(self._diff)
        elif self._diff.caught_up:
            diff, self._diff = self._diff, None
            for kind, text in diff.new:
                self._items.append(kind, text)

    def _replace_answer(self, diff: RevisionDiff) -> None:
        self._diff = None
        self._items.replace()
        for kind, text in diff.revision:
            self._items.append(kind, text)

    def _on_done(self, done: Done) -> None:
        if done.status != "completed":
            if self._items.open is not None:
                self._items.open.status = "incomplete"
            self._end(*BROKEN_OFF[done.status], done)
            return
        if self._diff is not None:
            # The revision ended before it had repeated all the known text: it is another answer.
            self._replace_answer(self._diff)
        reason = CUT_SHORT.get(done.finish_reason or "")
        status = "incomplete" if reason else "completed"
        self._items.close(status)
        # A call with a result was run by a worker; the client runs the others.
        for call in self._tools.values():
            if call.state == "started":
                self._items.add_call(call, status)
        self._end(status, f"response.{status}", done, reason)

    def _end(self, status: str, kind: str, done: Done, reason: str | None = None) -> None:
        self._status = status
        self._ending = {
            "error": error(done.error) if status == "failed" else None,
            "incomplete_details": {"reason": reason} if reason else None,
            "usage": usage(done.usage),
        }
        self._emit_response(kind)

    def _emit_response(self, kind: str) -> None:
        self._writer.emit(kind, response=self.response() if self._writer.writes else None)
