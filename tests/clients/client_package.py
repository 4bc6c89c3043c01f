"""Scenarios of the package unbroken-client, as a program that has nothing but the package.

``python client_package.py <scenario>`` prints its result as one line of JSON, and before that a number whenever a
moment has come for the test.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from unbroken_client import (
    START,
    AsyncClient,
    Client,
    Event,
    LimitReached,
    NotFound,
    Notice,
    Patience,
    Problem,
    Unauthenticated,
)

URL, TOKEN = os.environ["URL"], os.environ["TOKEN"]
MESSAGE, MODEL = os.environ.get("MESSAGE", "Hello"), os.environ.get("MODEL", "offline")
# Short pauses; the heartbeats of the tests come every two seconds.
PATIENCE = Patience(longest_pause=1, silence=float(os.environ.get("SILENCE", "30")))
MOMENT = 20


class Record:
    """The ids of the events, the notices, and the positions at which connections began beside the newest id."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.opens: list[tuple[str, str]] = []
        self.notices: list[str] = []

    def event(self, event: Event) -> None:
        if event["type"] == "open":
            self.opens.append((event["after"], self.ids[-1] if self.ids else START))
        if "id" not in event:
            return
        self.ids.append(event["id"])
        if len(self.ids) == MOMENT:
            print(MOMENT, flush=True)

    def notice(self, notice: Notice) -> None:
        self.notices.append(type(notice.cause).__name__)

    def result(self, generation_id: str, text: str) -> dict[str, Any]:
        return {"id": generation_id, "text": text, "ids": self.ids, "opens": self.opens, "notices": self.notices}


def follow() -> dict[str, Any]:
    record = Record()
    with Client(URL, lambda: TOKEN, patience=PATIENCE, on_notice=record.notice) as client:
        generation_id = client.start(MESSAGE, model=MODEL)["generation"]["id"]
        answer = client.follow(generation_id)
        for event in answer:
            record.event(event)
        return record.result(generation_id, answer.transcript.text)


def follow_async() -> dict[str, Any]:
    async def token() -> str:
        return TOKEN

    async def main() -> dict[str, Any]:
        record = Record()
        async with AsyncClient(URL, token, patience=PATIENCE, on_notice=record.notice) as client:
            generation_id = (await client.start(MESSAGE, model=MODEL))["generation"]["id"]
            answer = client.follow(generation_id)
            async for event in answer:
                record.event(event)
            return record.result(generation_id, answer.transcript.text)

    return asyncio.run(main())


def start() -> dict[str, Any]:
    """The request's reply is lost once; the repeat finds what the first one made."""
    record = Record()
    with Client(URL, TOKEN, patience=PATIENCE, on_notice=record.notice) as client:
        started = client.start("Only once", model="offline-fast")
        return {"conversation": started["conversation"]["id"], "notices": record.notices}


def end() -> dict[str, Any]:
    """An answer that has ended, from behind its end; an endless one, polled and cancelled."""
    with Client(URL, TOKEN, patience=PATIENCE) as client:
        generation_id = client.start("Hello", model="offline-fast")["generation"]["id"]
        whole = client.follow(generation_id)
        whole.read()
        rest = client.follow(generation_id, after=whole.cursor)
        types = [event["type"] for event in rest]
        endless = client.start("Hello", model="fake?tokens=20000&rate=50")["generation"]["id"]
        polled = client.poll(endless, after="0-0", wait=20)
        cancelled = client.cancel(endless)
        text = client.follow(endless).read()
        return {
            "types": types,
            "same": rest.transcript.text == whole.transcript.text,
            "polled": polled["events"][0]["type"],
            "cancelled": [cancelled["status"], text.status, client.cancel(endless)["status"]],
        }


def refused() -> dict[str, Any]:
    seen: dict[str, Any] = {}
    nobody = "00000000-0000-7000-8000-000000000000"
    with Client(URL, TOKEN, patience=PATIENCE) as client:
        try:
            client.start("")
        except Problem as problem:
            seen["empty"] = [type(problem).__name__, problem.status, problem.type, problem.errors[0].field]
        for name in ("poll", "cancel"):
            try:
                getattr(client, name)(nobody)
            except NotFound as problem:
                seen[name] = problem.status
        try:
            client.follow(nobody).read()
        except NotFound as problem:
            seen["follow"] = problem.detail
    with Client(URL, "wrong") as client:
        try:
            client.start("Hello")
        except Unauthenticated as problem:
            seen["token"] = problem.status
    return seen


def lost() -> dict[str, Any]:
    """Nothing listens at the address."""
    notices: list[Notice] = []
    client = Client(
        "http://127.0.0.1:9", TOKEN, patience=Patience(failures=3, longest_pause=0.1), on_notice=notices.append
    )
    try:
        client.start("Hello")
    except Exception as error:
        return {"error": type(error).__name__, "notices": [notice.failures for notice in notices]}
    raise AssertionError("it was accepted")


def limit() -> dict[str, Any]:
    """The third conversation of a minute is refused for longer than the client waits."""
    with Client(URL, TOKEN, patience=Patience(longest_wait=0.5)) as client:
        try:
            for _ in range(3):
                client.start("Hello", model="offline-fast")
        except LimitReached as problem:
            return {"limit": problem.limit, "waits": (problem.retry_after or 0) > 0.5}
    raise AssertionError("there was no limit")


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
