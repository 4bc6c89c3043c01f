"""One connection for the feed and all answers of a user, while web processes are killed under it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.store.generations import Generation
from tests.stack import Stack, Web, until

ANSWERS = 4
# Long enough to kill web processes meanwhile, also on a busy machine.
LONG = {"tokens": 300, "rate": 20}


class Follower:
    """A client by the rules of `docs/clients/feed.md`: it keeps the feed's last number and a cursor for each answer."""

    def __init__(self, token: str, web: Web) -> None:
        self.token = token
        self.web = web
        self.last = 0
        self.told: list[int] = []
        self.cursors: dict[str, str] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.connects = 0

    @property
    def ended(self) -> int:
        return sum(events[-1]["type"] == "done" for events in self.events.values())

    def follow(self) -> None:
        """Follow the feed until all answers have ended. A lost connection is made again."""
        while self.ended < ANSWERS:
            with suppress(OSError, HTTPException, ValueError):
                for fields in self._connection():
                    self._take(fields)
                    if self.ended == ANSWERS:
                        return

    def _connection(self) -> Iterator[dict[str, str]]:
        where = urlsplit(self.web.url)
        # The request names the cursor of each answer.
        positions = ",".join(f"{key}:{cursor}" for key, cursor in self.cursors.items())
        path = f"/api/v1/feed?generations=live&from_seq={self.last}" + (f"&after={positions}" if positions else "")
        connection = HTTPConnection(where.hostname or "", where.port, timeout=60)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
            answer = connection.getresponse()
            if answer.status != 200:
                return
            self.connects += 1
            fields: dict[str, str] = {}
            while line := answer.readline().decode():
                name, _, value = line.rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif fields:
                    yield fields
                    fields = {}
        finally:
            connection.close()

    def _take(self, fields: dict[str, str]) -> None:
        body = json.loads(fields["data"])
        if "id" in fields:
            self.last = int(fields["id"])
            self.told.append(self.last)
        if fields["event"] == "generation.event" and body["type"] != "open":
            self.cursors[body["generation_id"]] = body["cursor"]
            self.events.setdefault(body["generation_id"], []).append(body)
            if body["type"] == "done":
                del self.cursors[body["generation_id"]]


@pytest.mark.slow
def test_four_answers_over_one_connection_come_whole_though_web_processes_are_killed(stack: Stack) -> None:
    stack.worker(10)
    first, second, third = stack.web(), stack.web(), stack.web()
    follower = Follower(stack.token(), first)
    following = Thread(target=follower.follow, daemon=True)
    following.start()
    until(lambda: follower.connects == 1, what="a connection")
    ids = [stack.start(f"Tell me {n}", model="offline", parameters=LONG).generation.id for n in range(ANSWERS)]
    until(lambda: len(follower.cursors) == ANSWERS, what="all answers at once")
    follower.web = second
    first.kill()
    until(lambda: follower.connects == 2, what="another connection")
    seen = sum(map(len, follower.events.values()))
    until(lambda: sum(map(len, follower.events.values())) > seen + 20, what="more events")
    follower.web = third
    second.kill()
    following.join(120)
    assert not following.is_alive(), {key: len(events) for key, events in follower.events.items()}
    assert follower.connects >= 3
    assert follower.told == list(range(1, follower.told[-1] + 1))
    for generation_id in ids:
        heard = follower.events[generation_id]
        stored = stack.read(generation_id)
        assert [one["cursor"] for one in heard] == [str(entry.cursor) for entry in stored]
        row: Generation = stack.generation(generation_id)
        assert heard[-1]["sha256"] == row.sha256
