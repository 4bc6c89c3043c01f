"""File parts of OpenAI's protocols: of responses (``input_image``, ``input_file``) and of chat completions. Pure."""

from __future__ import annotations

from typing import Any

from app.api.errors import InvalidFields
from app.api.found_files import FoundFile, by_address
from app.domain.message_files import DETAILS, FILE, IMAGE

Part = dict[str, Any]

TYPES = ("input_image", "image_url", "input_file", "file")


def found_in(part: Part, place: str) -> FoundFile:
    """The file of a part of one of the TYPES. Raises InvalidFields."""
    match part["type"]:
        case "input_image":
            detail = _detail(part, place)
            if part.get("image_url") is None:
                return _by_id(part, place, IMAGE, filename=_name(part, place), detail=detail)
            url, at = part["image_url"], f"{place}.image_url"
            return by_address(url, at, IMAGE, filename=_name(part, place), detail=detail)
        case "image_url":
            given = part.get("image_url")
            if isinstance(given, str):
                return by_address(given, f"{place}.image_url", IMAGE)
            given, at = _object(given, f"{place}.image_url"), f"{place}.image_url"
            return by_address(given.get("url"), f"{at}.url", IMAGE, detail=_detail(given, at))
        case "file":
            return _document(_object(part.get("file"), f"{place}.file"), f"{place}.file")
    return _document(part, place)


def characters(body: Any) -> int:
    """The characters of all data URLs in a request, where the protocols have them: they are no text of a prompt."""
    if not isinstance(body, dict):
        return 0
    items = [item for name in ("input", "messages", "items") for item in _list(body.get(name))]
    parts = [part for item in items if isinstance(item, dict) for part in _list(item.get("content"))]
    return sum(_characters(part) for part in parts if isinstance(part, dict) and part.get("type") in TYPES)


def _characters(part: Part) -> int:
    inner = part.get("image_url") if part["type"] in ("input_image", "image_url") else part.get("file", part)
    if isinstance(inner, dict):
        inner = inner.get("url") or inner.get("file_data")
    return len(inner) if isinstance(inner, str) else 0


def _document(part: Part, place: str) -> FoundFile:
    name, data = _name(part, place), part.get("file_data")
    if data is not None:
        at = f"{place}.file_data"
        # OpenAI takes the bare base64, too.
        is_bare = isinstance(data, str) and ":" not in data[:100]
        return by_address(f"data:;base64,{data}" if is_bare else data, at, FILE, filename=name)
    if part.get("file_url") is not None:
        return by_address(part["file_url"], f"{place}.file_url", FILE, filename=name)
    return _by_id(part, place, FILE, filename=name)


def _by_id(part: Part, place: str, kind: str, **facts: Any) -> FoundFile:
    file_id = part.get("file_id")
    if file_id is not None and not isinstance(file_id, str):
        raise InvalidFields([(f"{place}.file_id", "must be a string")])
    return FoundFile(f"{place}.file_id", kind, file_id=file_id, **facts)


def _detail(part: Part, place: str) -> str:
    detail = part.get("detail")
    if detail is not None and detail not in DETAILS:
        raise InvalidFields([(f"{place}.detail", f"must be one of {', '.join(DETAILS)}")])
    return detail or "auto"


def _name(part: Part, place: str) -> str | None:
    name = part.get("filename")
    if name is not None and not isinstance(name, str):
        raise InvalidFields([(f"{place}.filename", "must be a string")])
    return name


def _object(value: Any, place: str) -> Part:
    if not isinstance(value, dict):
        raise InvalidFields([(place, "must be an object")])
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
