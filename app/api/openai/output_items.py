"""The output items of a response: their objects, and the events by which they grow. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from app.api.openai import ids
from app.api.openai.event_writer import DeltaFrame, EventWriter
from app.api.openai.revision_diff import Kind
from app.domain.call_extra import to_wire
from app.domain.events import Tool

_TYPES: dict[Kind, str] = {"reasoning": "reasoning", "text": "message"}
_PARTS: dict[Kind, str] = {"reasoning": "reasoning_text", "text": "output_text"}


@dataclass(slots=True)
class OutputItem:
    """A message or a piece of reasoning. ``pieces`` are escaped JSON text, as the log has it.

    ``refusal``: the text is a refusal of the model.
    """

    id: str
    index: int
    kind: Kind
    frame: DeltaFrame
    status: str = "in_progress"
    pieces: list[bytes] = field(default_factory=list)
    refusal: bool = False

    @property
    def text(self) -> str:
        """All pieces, decoded."""
        text: str = orjson.loads(b'"' + b"".join(self.pieces) + b'"')
        return text

    def part(self, text: str) -> dict[str, Any]:
        """The item's one content part with this text."""
        if self.kind == "reasoning":
            return {"type": "reasoning_text", "text": text}
        if self.refusal:
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def view(self, *, empty: bool = False) -> dict[str, Any]:
        """The item as an object; ``empty``: without content, as it begins."""
        content = [] if empty else [self.part(self.text)]
        if self.kind == "reasoning":
            return {"id": self.id, "type": "reasoning", "summary": [], "content": content, "status": self.status}
        return {"id": self.id, "type": "message", "role": "assistant", "status": self.status, "content": content}


@dataclass(slots=True)
class CallItem:
    """A tool call that the client is to run."""

    id: str
    index: int
    call: Tool
    status: str = "in_progress"

    def view(self, *, empty: bool = False) -> dict[str, Any]:
        """The call as an object; ``empty``: without arguments, as it begins."""
        extra = to_wire(self.call.extra)
        view = {
            "id": self.id,
            "type": "function_call",
            "call_id": self.call.call_id,
            "name": self.call.tool,
            "arguments": "" if empty else self.call.arguments,
            "status": self.status,
        }
        return view if extra is None else {**view, "extra_content": extra}


class OutputItems:
    """The items of one response in order. At most one of them is open: it grows until another kind of text begins."""

    def __init__(self, writer: EventWriter, message_id: str) -> None:
        self._writer = writer
        self._message_id = message_id
        self._items: list[OutputItem | CallItem] = []
        # Items before this index belong to an answer that a restart has replaced.
        self._first = 0
        self.open: OutputItem | None = None
        # The text that follows is a refusal.
        self.refused = False

    def view(self) -> list[dict[str, Any]]:
        """All items as objects."""
        return [item.view() for item in self._items]

    def text(self, kind: Kind) -> str:
        """All text of this kind in the answer that counts."""
        items = self._items[self._first :]
        return "".join(item.text for item in items if isinstance(item, OutputItem) and item.kind == kind)

    def append(self, kind: Kind, text: str) -> None:
        """Add text to the open item of this kind, or to a new item."""
        item = self.open
        if item is None or item.kind != kind:
            self.close("completed")
            item = self._begin(kind)
        self._writer.append(self.grow(item, orjson.dumps(text)[1:-1]))

    def grow(self, item: OutputItem, escaped: bytes) -> bytes:
        """Add escaped JSON text to the open item. Returns the delta event, which is not appended yet."""
        item.pieces.append(escaped)
        return self._writer.delta(item.frame, escaped)

    def close(self, status: str) -> None:
        """End the open item, if there is one."""
        item, self.open = self.open, None
        if item is None:
            return
        item.status = status
        text = item.text
        place = {"item_id": item.id, "output_index": item.index, "content_index": 0}
        if item.refusal:
            self._writer.emit("response.refusal.done", **place, refusal=text)
        else:
            logprobs: dict[str, Any] = {"logprobs": []} if item.kind == "text" else {}
            self._writer.emit(f"response.{_PARTS[item.kind]}.done", **place, text=text, **logprobs)
        self._writer.emit("response.content_part.done", **place, part=item.part(text))
        self._writer.emit("response.output_item.done", output_index=item.index, item=item.view())

    def refuse(self) -> None:
        """The text that follows is a refusal of the model: a part of its own kind."""
        if self.open is not None and not self.open.refusal:
            self.close("completed")
        self.refused = True

    def replace(self) -> None:
        """Another answer begins: the items so far do not count any more."""
        self.close("incomplete")
        self._first = len(self._items)

    def add_call(self, call: Tool, status: str) -> None:
        """Add a whole tool call."""
        index = len(self._items)
        item = CallItem(ids.item("function_call", self._message_id, index), index, call)
        self._items.append(item)
        place = {"item_id": item.id, "output_index": index}
        self._writer.emit("response.output_item.added", output_index=index, item=item.view(empty=True))
        if call.arguments:
            self._writer.emit("response.function_call_arguments.delta", **place, delta=call.arguments)
        self._writer.emit("response.function_call_arguments.done", **place, name=call.tool, arguments=call.arguments)
        item.status = status
        self._writer.emit("response.output_item.done", output_index=index, item=item.view())

    def _begin(self, kind: Kind) -> OutputItem:
        index = len(self._items)
        item_id = ids.item(_TYPES[kind], self._message_id, index)
        place = {"item_id": item_id, "output_index": index, "content_index": 0}
        refusal = self.refused and kind == "text"
        name = "refusal" if refusal else _PARTS[kind]
        frame = DeltaFrame.of(f"response.{name}.delta", place, logprobs=name == "output_text")
        item = self.open = OutputItem(item_id, index, kind, frame, refusal=refusal)
        self._items.append(item)
        self._writer.emit("response.output_item.added", output_index=index, item=item.view(empty=True))
        self._writer.emit("response.content_part.added", **place, part=item.part(""))
        return item
