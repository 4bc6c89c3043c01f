"""A conversation's recent messages, kept in Redis for the next answer. PostgreSQL wins when they differ."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
import redis

from app.store import conversations
from app.store.database import Database

RECENT = 15
TTL_SECONDS = 3600
# Far more than any context window holds; a bound on what one answer may load.
LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Turn:
    """One message as a model sees it. ``items``: all it consists of, where that is more than its text."""

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
    """Reads contexts, and keeps the recent part of them at hand."""

    def __init__(self, database: Database, client: redis.Redis, namespace: str) -> None:
        self._database = database
        self._client = client
        self._namespace = namespace

    def context(self, conversation_id: str, leaf_id: str) -> list[Turn]:
        """The messages that lead to ``leaf_id`` and itself, oldest first, without empty ones."""
        known = cached = self._load(conversation_id)
        with self._database.system() as tx:
            version = conversations.history_version(tx, conversation_id)
            if cached is None or (cached.version, cached.leaf) != (version, leaf_id):
                cached = _recent(conversations.branch(tx, leaf_id, RECENT), version, leaf_id)
            older = conversations.branch(tx, cached.oldest, LONGEST) if cached.oldest else []
        if cached is not known:
            self._save(conversation_id, cached)
        return [turn for turn in [*map(turn_of, older), *cached.turns] if turn.content or turn.items]

    def extend(self, conversation_id: str, version: int, parent_id: str | None, turn: Turn) -> None:
        """Write through: ``turn`` was added behind ``parent_id``, and the conversation is now at ``version``."""
        cached = self._load(conversation_id)
        if cached is None or (cached.version, cached.leaf) != (version - 1, parent_id):
            return
        turns, oldest = [*cached.turns, turn], cached.oldest
        if len(turns) > RECENT:
            oldest = turns.pop(0).id
        self._save(conversation_id, _Cached(version, turn.id, turns, oldest))

    def _load(self, conversation_id: str) -> _Cached | None:
        try:
            raw = self._client.get(self._key(conversation_id))
        except redis.RedisError:
            return None
        if raw is None:
            return None
        try:
            body = orjson.loads(raw)
            return _Cached(body["version"], body["leaf"], [Turn(**t) for t in body["turns"]], body["oldest"])
        except (ValueError, LookupError, TypeError):
            return None  # written by another release, or by somebody else

    def _save(self, conversation_id: str, cached: _Cached) -> None:
        # When it cannot be kept, the next answer reads PostgreSQL.
        with suppress(redis.RedisError):
            self._client.set(self._key(conversation_id), orjson.dumps(cached), ex=TTL_SECONDS)

    def _key(self, conversation_id: str) -> str:
        return f"{self._namespace}:history:{conversation_id}"


def turn_of(message: conversations.Message) -> Turn:
    """A stored message as a model sees it."""
    items = message.items if message.items is not None else with_calls(message.content, message.tools)
    return Turn(message.id, message.role, message.content, items)


def with_calls(text: str, tools: Iterable[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """All an answer consists of, if it called tools; None when its text is all.

    Those run here come first, with their results; those whose outputs the client sends are what it ends with.
    """
    called = list(tools)
    if not called:
        return None
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    ours = [tool for tool in called if tool["state"] != "started"]
    before = [*map(_call, ours), *map(_output, ours)]
    return [*before, *([said] if text else []), *(_call(tool) for tool in called if tool["state"] == "started")]


def _call(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function_call", "call_id": tool["call_id"], "name": tool["tool"], "arguments": tool["arguments"]}


def _output(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": tool["call_id"], "output": tool["result"] or ""}


def _recent(branch: list[conversations.Message], version: int, leaf_id: str) -> _Cached:
    return _Cached(version, leaf_id, [turn_of(m) for m in branch], branch[0].parent_id if branch else None)
