"""Items of clients as stored messages, and stored messages as items. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Literal

from app.api.errors import InvalidFields
from app.api.found_files import FoundFile
from app.api.openai import file_parts, ids
from app.domain import message_files
from app.domain.call_extra import FIELD
from app.domain.commands import Said
from app.domain.errors import NotFound
from app.store.messages import Message

Item = dict[str, Any]
Role = Literal["user", "assistant"]

ROLES = ("user", "assistant", "system", "developer")
_TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
_OURS = {"message", "function_call", "function_call_output", "reasoning"}


def parse(
    value: str | Sequence[Any], place: str, *, single: bool = False, files: list[FoundFile] | None = None
) -> list[Item]:
    """Input of a client in the form that is stored. The size of the request bounds its texts, whatever their role.

    An item of an earlier output may have further fields, which are dropped. The files of messages are added to
    ``files``; their parts have to be taken in. Without it they are refused. Raises InvalidFields, which names the item
    by its index in ``place``, or ``place`` alone when the item is the ``single`` one.
    """
    items: list[Any] = [{"role": "user", "content": value}] if isinstance(value, str) else list(value)
    if not items:
        raise InvalidFields([(place, "must not be empty")])
    single = single or isinstance(value, str)
    return [_parse(item, place if single else f"{place}[{n}]", files) for n, item in enumerate(items)]


def said(items: Iterable[Item]) -> tuple[Said, ...]:
    """The items as messages. Consecutive items of the user, or of the assistant, are one message."""
    return tuple(_said(role, list(group)) for role, group in groupby(items, _side))


def of_message(message: Message, output: Sequence[Item] = ()) -> list[Item]:
    """The items of a stored message. ``output`` is the output of its response, when the message is an answer."""
    if message.items is None and output:
        return list(output)
    stored = message.items
    if stored is None:
        stored = [_message("assistant" if message.role == "assistant" else "user", message.content)]
    return [_view(item, message.id, n) for n, item in enumerate(stored) if item]


def without(message: Message, output: Sequence[Item], item_id: str) -> list[Item | None]:
    """The items of a message in the form that is stored, with None in place of one. Raises NotFound.

    Each other item keeps its index. ``output`` is that of ``of_message``.
    """
    shown = of_message(message, output)
    stored = message.items
    places = {ids.item_of(item["id"]).place: item for item in shown if item["id"] != item_id}
    if len(places) == len(shown):
        raise NotFound("There is no such item.")
    kept = {place: stored[place] if stored else _parse(item, item["id"]) for place, item in places.items()}
    return [kept.get(place) for place in range(1 + max(kept, default=0))]


def text_of(items: Iterable[Item | None]) -> str:
    """The text of the messages among these items."""
    return "\n\n".join(_text(item) for item in items if item and _speaks(item))


def _parse(item: Any, place: str, files: list[FoundFile] | None = None) -> Item:
    if not isinstance(item, dict):
        raise InvalidFields([(place, "must be an object")])
    kind = item.get("type") or "message"
    if kind == "message":
        return _parse_message(item, place, files)
    if kind == "function_call":
        names = ("call_id", "name", "arguments")
        given = {FIELD: item[FIELD]} if item.get(FIELD) is not None else {}
        return {"type": kind, **{name: _string(item, name, place) for name in names}, **given}
    if kind == "function_call_output":
        output = item.get("output")
        if not isinstance(output, str):
            output = [{"type": "input_text", "text": text} for text in _parts(output, f"{place}.output")]
        return {"type": kind, "call_id": _string(item, "call_id", place), "output": output}
    if kind == "reasoning":
        return {"type": kind, **{name: _thoughts(item.get(name)) for name in ("summary", "content")}}
    if kind == "item_reference":
        return {"type": kind, "id": _string(item, "id", place)}
    raise InvalidFields([(f"{place}.type", f"items of type {str(kind)[:40]!r} are not supported here")])


def _parse_message(item: Item, place: str, files: list[FoundFile] | None) -> Item:
    role = item.get("role")
    if role not in ROLES:
        raise InvalidFields([(f"{place}.role", f"must be one of {', '.join(ROLES)}")])
    content = item.get("content")
    kind = "output_text" if role == "assistant" else "input_text"
    parts = [content] if isinstance(content, str) else _parts(content, f"{place}.content", files, role)
    shown = [{"type": kind, "text": part} if isinstance(part, str) else part for part in parts]
    message = {"type": "message", "role": role, "content": shown}
    # Of chat completions: the name of one of several participants.
    return {**message, "name": item["name"]} if isinstance(item.get("name"), str) else message


def _parts(value: Any, place: str, files: list[FoundFile] | None = None, role: str = "user") -> list[Any]:
    """The texts of a list of content parts, and its files, which are added to ``files``. Raises InvalidFields."""
    if not isinstance(value, list):
        raise InvalidFields([(place, "must be a string or a list of parts")])
    if not value:
        raise InvalidFields([(place, "must not be an empty list")])
    found: list[Any] = []
    for n, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        if files is not None and role == "user" and kind in file_parts.TYPES:
            files.append(file_parts.found_in(part, f"{place}[{n}]"))
            found.append(files[-1].part)
            continue
        if not isinstance(kind, str) or kind not in _TEXTS:
            raise InvalidFields([(f"{place}[{n}].type", f"parts of type {str(kind)[:40]!r} are not supported here")])
        found.append(_string(part, _TEXTS[kind], f"{place}[{n}]"))
    return found


def _thoughts(value: Any) -> list[Item]:
    """The text parts of a model's reasoning. Parts of another kind are dropped without an error."""
    parts = value if isinstance(value, list) else []
    return [part for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]


def _string(item: Item, name: str, place: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise InvalidFields([(f"{place}.{name}", "must be a string")])
    return value


def _side(item: Item) -> Role:
    ours = item["type"] in ("function_call", "reasoning") or item.get("role") == "assistant"
    return "assistant" if ours else "user"


def _said(role: Role, items: list[Item]) -> Said:
    first = items[0]
    plain = len(items) == 1 and first.get("role") == role and len(first["content"]) == 1 and "name" not in first
    plain = plain and not any(message_files.in_items(items))
    return Said(role, text_of(items), () if plain else tuple(items))


def _speaks(item: Item) -> bool:
    """True for a message of the user or of the assistant."""
    return item["type"] == "message" and item["role"] in ("user", "assistant")


def _text(item: Item) -> str:
    return "".join(str(part.get("text") or part.get("refusal") or "") for part in item["content"])


def _message(role: str, text: str) -> Item:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def _view(item: Item, message_id: str, index: int) -> Item:
    """A stored item in the form that clients read."""
    kind = item["type"]
    assert kind in _OURS, "an item of another kind is never stored"
    view = {"id": ids.item(kind, message_id, index), "status": "completed", **item}
    if kind == "message" and item["role"] == "assistant":
        view["content"] = [{"annotations": [], "logprobs": [], **part} for part in item["content"]]
    elif kind == "message":
        view["content"] = [_view_of_part(part) for part in item["content"]]
    return view


def _view_of_part(part: Item) -> Item:
    """A part of a user's message. A file has the facts that the protocol knows."""
    if not message_files.is_file(part):
        return part
    return {name: part.get(name) for name in ("type", "file_id", "filename", "detail") if name in part}


def page(items: Iterator[Item], after: str | None, limit: int) -> tuple[list[Item], bool]:
    """At most ``limit`` items after the item with the id ``after``, and a flag for further items."""
    found: list[Item] = []
    waiting = after is not None
    for item in items:
        if waiting:
            waiting = item["id"] != after
            continue
        if len(found) == limit:
            return found, True
        found.append(item)
    return found, False
