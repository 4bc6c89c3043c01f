"""The steps of one run of Gemini's Interactions, pure: their parts to pieces, each character once.

A text comes as deltas, and whole in the object of the run. A call is given out when its step has ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from worker.limits import Limits
from worker.providers.base import Piece
from worker.providers.gemini.interactions_request import BEHIND_TEXT, THOUGHTS
from worker.providers.reading.clean_text import clean_value
from worker.providers.responses.items import RunItems

# Steps that the model did not make.
_GIVEN = frozenset({"user_input", "function_result"})


@dataclass(slots=True)
class _Step:
    """One step of the model, and the parts of it that are not given out as they come."""

    number: int
    kind: str
    call_id: str = ""
    name: str = ""
    arguments: object = None
    streamed: str = ""
    signature: str = ""
    summary: str = ""
    is_over: bool = False


class RunSteps:
    """The steps of one run. ``pieces`` collects until ``take``. Calls beyond ``most_calls`` are left out."""

    def __init__(self, limits: Limits, most_calls: int | None = None) -> None:
        self._limits = limits
        self._most_calls = most_calls
        self._items = RunItems(limits)
        self._steps: dict[int, _Step] = {}  # by the index in the stream, in the order in which they came
        self._thoughts: list[dict[str, Any]] = []  # since the last call
        self._is_behind_text = False  # whether text came before the first of them
        self._has_text = False  # since the last call
        self._held_chars = 0

    @property
    def calls(self) -> int:
        """The number of tool calls of the run."""
        return self._items.calls

    def take(self) -> list[Piece]:
        """The pieces since the last call; the list is the caller's."""
        return self._items.take()

    def close(self) -> None:
        """End the steps that have not ended yet."""
        for step in self._steps.values():
            self._end(step)
        self._items.close()

    def start(self, index: int, step: dict[str, Any]) -> None:
        """Read the beginning of a step; it may have its first parts already."""
        begun = self._step(index, named(step.get("type")))
        self._identify(begun, step)
        self._say(begun, _text_of(step.get("content")))
        self._think(begun, _text_of(step.get("summary")))

    def add(self, index: int, delta: dict[str, Any]) -> None:
        """Read the next part of a step; unknown parts are ignored."""
        step, kind = self._step(index, ""), delta.get("type")
        if kind == "text":
            self._say(step, delta["text"])
        elif kind == "thought_summary":
            self._think(step, _text_of([delta.get("content")]))
        elif kind == "thought_signature":
            step.signature = self._held(named(delta.get("signature")))
        elif kind == "arguments_delta":
            step.streamed += self._held(delta.get("arguments") or "")

    def stop(self, index: int) -> None:
        """Read the end of a step."""
        if step := self._steps.get(index):
            self._end(step)

    def complete(self, steps: list[dict[str, Any]]) -> None:
        """Read the steps of the object of a run: whatever their parts did not say.

        The object may begin with the steps of the request. Raises ValueError when the deltas were another text.
        """
        begin = max((place + 1 for place, step in enumerate(steps) if step.get("type") in _GIVEN), default=0)
        known = [step for step in self._steps.values() if step.kind not in _GIVEN]
        for number, whole in enumerate(steps[begin:]):
            kind = named(whole.get("type"))
            step = known[number] if number < len(known) else self._step(-1 - number, kind)
            self._identify(step, whole)
            if kind == "model_output":
                text = _text_of(whole.get("content"))
                self._has_text = self._has_text or bool(text)
                self._items.complete((0, "content", step.number), text, thinking=False)
            elif kind == "thought":
                step.summary = _text_of(whole.get("summary")) or step.summary
                self._items.complete((step.number, "summary", 0), step.summary, thinking=True)
            elif "arguments" in whole:
                step.streamed = ""  # a part of them, maybe
            self._end(step)

    def _step(self, index: int, kind: str) -> _Step:
        step = self._steps.setdefault(index, _Step(len(self._steps), kind))
        step.kind = step.kind or kind
        return step

    def _identify(self, step: _Step, told: dict[str, Any]) -> None:
        step.kind = step.kind or named(told.get("type"))
        step.call_id, step.name = named(told.get("id")) or step.call_id, named(told.get("name")) or step.name
        step.arguments = told.get("arguments") or step.arguments
        if (signature := named(told.get("signature"))) and not step.is_over:
            step.signature = self._held(signature)

    def _say(self, step: _Step, text: str) -> None:
        if text and step.kind not in _GIVEN:
            self._has_text = True
            # The texts of all steps are one text, without anything between them.
            self._items.say((0, "content", step.number), text, thinking=False)

    def _think(self, step: _Step, text: str) -> None:
        if text and step.kind not in _GIVEN:
            step.summary += self._held(text)
            self._items.say((step.number, "summary", 0), text, thinking=True)

    def _end(self, step: _Step) -> None:
        if step.is_over:
            return
        step.is_over = True
        if step.kind == "thought" and step.signature:
            if not self._thoughts:
                self._is_behind_text = self._has_text
            summary = {"summary": [{"type": "text", "text": step.summary}]} if step.summary else {}
            self._thoughts.append(clean_value({"type": "thought", "signature": step.signature, **summary}))
        elif step.kind == "function_call" and (self._most_calls is None or self.calls < self._most_calls):
            self._call(step)
        step.streamed = step.summary = ""

    def _call(self, step: _Step) -> None:
        arguments = step.streamed or step.arguments
        item = {"type": "function_call", "call_id": step.call_id, "name": step.name, "arguments": arguments}
        self._items.end_item(step.number, item)
        own: dict[str, Any] = {"id": clean_value(step.call_id)} if step.call_id else {}
        if self._thoughts:
            own[THOUGHTS], self._thoughts = self._thoughts, []
            if self._is_behind_text:
                own[BEHIND_TEXT] = True
        self._has_text = False
        if own:
            self._items.add_extra(step.number, {"gemini": own})

    def _held(self, text: str) -> str:
        self._held_chars += len(text)
        if self._held_chars > self._limits.tool_argument_chars:
            raise self._limits.exceeded("tool_argument_chars")
        return text


def named(value: Any) -> str:
    """A name on the wire; empty for what is none."""
    return value if isinstance(value, str) else ""


def _text_of(contents: Any) -> str:
    """The text of a list of contents; those of other kinds have none."""
    return "".join(content.get("text") or "" for content in contents or () if content)
