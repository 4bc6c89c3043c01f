"""A conversation's recent messages, kept in Redis for the next answer. PostgreSQL wins when they differ."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import orjson
import redis

from app.domain.call_extra import to_wire
from app.domain.transcript import CallPlace
from app.store import conversations, messages
from app.store.database import Database

RECENT = 15
TTL_SECONDS = 3600
# Characters of a cached history; a longer one is not cached.
MOST_CHARS = 500_000
# Messages that one answer may load, far more than a context window holds.
LONGEST = 1000
MOST_TURNS = LONGEST + RECENT
# Behind every round of calls.
_LAST = 2**31


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a prompt. ``items``: all parts of a message that is more than text."""

    id: str
    role: str
    content: str
    items: list[Any] | None = None


@dataclass(frozen=True, slots=True)
class _Cached:
    """The last turns of one branch at one version of its conversation. ``oldest`` is where it continues upwards."""

    version: int
    leaf: str
    turns: list[Turn]
    oldest: str | None


class History:
    """Reads the context of an answer, and caches its recent part."""

    def __init__(self, database: Database, client: redis.Redis, namespace: str) -> None:
        self._database = database
        self._client = client
        self._namespace = namespace

    def context(self, conversation_id: str, leaf_id: str) -> list[Turn]:
        """The messages that lead to ``leaf_id`` and itself, oldest first, without empty ones."""
        known = cached = self._load(conversation_id)
        with self._database.owner("conversation", conversation_id) as tx:
            version = conversations.history_version(tx, conversation_id)
            if cached is None or (cached.version, cached.leaf) != (version, leaf_id):
                cached = _recent(messages.branch(tx, leaf_id, RECENT), version, leaf_id)
            older = messages.branch(tx, cached.oldest, LONGEST) if cached.oldest else []
        if cached is not known:
            self._save(conversation_id, cached)
        return [turn for turn in [*map(turn_of, older), *cached.turns] if turn.content or turn.items]

    def text(self, generation_id: str, message_id: str) -> str:
        """The text of a message of the user whose generation this is; empty when there is no such message."""
        with self._database.owner("generation", generation_id) as tx:
            found = messages.get(tx, message_id)
        return found.content if found else ""

    def extend(self, conversation_id: str, version: int, parent_id: str | None, turn: Turn) -> None:
        """Extend the cached history by ``turn``, which follows ``parent_id``; ``version`` is the conversation's now."""
        cached = self._load(conversation_id)
        if cached is None or (cached.version, cached.leaf) != (version - 1, parent_id):
            return
        turns, oldest = [*cached.turns, turn], cached.oldest
        if len(turns) > RECENT:
            oldest = turns.pop(0).id
        self._save(conversation_id, _Cached(version, turn.id, turns, oldest))

    def _load(self, conversation_id: str) -> _Cached | None:
        try:
            raw = self._client.get(self.key(conversation_id))
        except redis.RedisError:
            return None
        if raw is None:
            return None
        try:
            body = orjson.loads(raw)
            return _Cached(body["version"], body["leaf"], [Turn(**t) for t in body["turns"]], body["oldest"])
        except (ValueError, LookupError, TypeError):
            return None  # written by another release, or by another program

    def _save(self, conversation_id: str, cached: _Cached) -> None:
        # Without a cached history, the next answer reads PostgreSQL.
        if sum(len(turn.content) for turn in cached.turns) > MOST_CHARS:
            return
        with suppress(redis.RedisError):
            self._client.set(self.key(conversation_id), orjson.dumps(cached), ex=TTL_SECONDS)

    def key(self, conversation_id: str) -> str:
        """The key of a conversation's cached history in Redis."""
        return f"{self._namespace}:history:{conversation_id}"


def turn_of(message: messages.Message) -> Turn:
    """A stored message as a part of a prompt."""
    items = message.items
    if items is None:
        items = with_calls(message.content, message.tools, message.reasoning)
    return Turn(message.id, message.role, message.content, items)


def with_calls(text: str, tools: Iterable[dict[str, Any]], reasoning: str = "") -> list[dict[str, Any]] | None:
    """All parts of an answer that called tools; None for an answer of text only.

    Each round of calls stands behind the text and the reasoning that precede it, with the results of the calls that
    the worker ran. Calls without a result are at the end: the client sends their outputs.
    """
    called = list(tools)
    if not called:
        return None
    whole = CallPlace(0, len(text), len(reasoning))
    items: list[dict[str, Any]] = []
    at = CallPlace(0, 0, 0)
    for _, group in groupby(sorted(called, key=_round), _round):
        calls = list(group)
        place = _place(calls[0], whole)
        items += _said(text[at.text : place.text], reasoning[at.reasoning : place.reasoning])
        items += [_call(tool) for tool in calls]
        items += [_output(tool) for tool in calls if tool["state"] != "started"]
        at = place
    return items + _said(text[at.text :], reasoning[at.reasoning :])


def _round(tool: dict[str, Any]) -> int:
    """The round of a call. In answers of earlier releases, all calls of the worker precede the text."""
    return tool["place"]["round"] if "place" in tool else _LAST if tool["state"] == "started" else 0


def _place(tool: dict[str, Any], whole: CallPlace) -> CallPlace:
    if "place" in tool:
        return CallPlace(**tool["place"])
    return whole if tool["state"] == "started" else CallPlace(0, 0, 0)


def _said(text: str, reasoning: str) -> list[dict[str, Any]]:
    thoughts = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": reasoning}]}
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    return [*([thoughts] if reasoning else []), *([message] if text else [])]


def _call(tool: dict[str, Any]) -> dict[str, Any]:
    names = {"call_id": tool["call_id"], "name": tool["tool"], "arguments": tool["arguments"]}
    given = to_wire(tool.get("extra"))
    return {"type": "function_call", **names, **({} if given is None else {"extra_content": given})}


def _output(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": tool["call_id"], "output": tool["result"] or ""}


def _recent(branch: list[messages.Message], version: int, leaf_id: str) -> _Cached:
    return _Cached(version, leaf_id, [turn_of(m) for m in branch], branch[0].parent_id if branch else None)
