"""The models an upstream lists, pure: the body of ``GET /models`` to names."""

from __future__ import annotations

import re
from typing import Any

import orjson

from app.domain.storable import storable

# A longer name is dropped, as is every name beyond this number.
MOST_NAME_CHARS = 200
MOST_NAMES = 10_000
_KEYS = ("data", "models", "model_list", "items", "results", "result")
_NAMES = ("id", "name", "model", "model_name", "model_id", "slug")
# The fields in which lists say what a model is for, and what they say there of models that do not answer.
_PURPOSES = ("type", "task", "model_type", "mode", "pipeline_tag", "kind")
_NO_CHATS = re.compile(r"embed|rerank|image|audio|speech|transcri|video|moderation|classif", re.IGNORECASE)


class NoModelList(Exception):
    """A body is no list of models; the message is the reason."""


def model_names(body: bytes) -> tuple[str, ...]:
    """The distinct names in a list of models, in its order; models that the list calls none for chats come last.

    The list is a bare array, or the value of ``data``, ``models`` or another field of an object; it may be an object by
    name. An entry that is no name, or an object without one, is dropped. Raises NoModelList.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NoModelList("the upstream's list of models is not JSON") from error
    entries = _entries(document)
    if entries is None:
        raise NoModelList("the upstream's answer has no list of models")
    found = {name: _answers(entry) for entry in entries if (name := _name(entry)) is not None}
    if not found:
        raise NoModelList("the upstream's list of models is empty")
    names = sorted(found, key=lambda name: not found[name])
    return tuple(names)[:MOST_NAMES]


def _entries(document: Any) -> list[Any] | None:
    """The entries of a list of models in any of its forms; None where there is no list."""
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        return None
    known = [document[key] for key in _KEYS if key in document]
    others = [value for key, value in document.items() if key not in _KEYS]
    for value in known:
        if isinstance(value, list):
            return value
        if isinstance(value, dict) and (found := _entries(value) or _by_name(value)):
            return found
    lists = [value for value in others if isinstance(value, list) and any(map(_name, value))]
    return lists[0] if len(lists) == 1 else None


def _by_name(models: dict[str, Any]) -> list[Any]:
    """The entries of an object whose fields are models; empty where a field is no object."""
    if not all(isinstance(entry, dict) for entry in models.values()):
        return []
    return [{key: entry[key] for key in _PURPOSES if key in entry} | {"id": name} for name, entry in models.items()]


def _name(entry: Any) -> str | None:
    if isinstance(entry, dict):
        entry = next((name for key in _NAMES if isinstance(name := entry.get(key), str) and name), None)
    if not isinstance(entry, str) or not 0 < len(entry) <= MOST_NAME_CHARS:
        return None
    try:
        return storable(entry)
    except ValueError:
        return None


def _answers(entry: Any) -> bool:
    """False for a model that its entry describes as one for something else than chats."""
    if not isinstance(entry, dict):
        return True
    purposes = [value for key in _PURPOSES if isinstance(value := entry.get(key), str)]
    if any(_NO_CHATS.search(purpose) for purpose in purposes):
        return False
    abilities = entry.get("capabilities")
    return not (isinstance(abilities, dict) and abilities.get("completion_chat") is False)
