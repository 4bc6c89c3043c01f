"""A sender in the test's process, receivers in a thread, and the rows of webhooks."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from threading import Thread
from typing import Any

import pytest

from app.domain.webhook_signature import new_secret
from app.egress.client import EgressClient
from app.egress.resolver import Lookup, Resolver, system_lookup
from app.egress.rules import EgressRules, read_networks
from app.store.database import Database
from tests.factories import add_user, insert, new_id, owner
from tests.stack import until
from tests.unit.webhooks.receivers import Handler, Receiver, listening
from worker import webhooks
from worker.webhooks import SenderBounds, WebhookSender

# One address of this machine may be called; 127.0.0.2 may not.
RULES = EgressRules(read_networks(["127.0.0.1/32"]), ((1, 65_535),), http=True)
BODY = b'{"id":"evt_1","object":"event","type":"response.completed","created_at":1790000000,"data":{"id":"resp_1"}}'


class Rows:
    """The rows of webhooks in one database, as the superuser writes and reads them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.senders: list[WebhookSender] = []

    def user(self) -> str:
        with owner(self.url) as cursor:
            return add_user(cursor)

    def endpoint(self, user_id: str, url: str, **columns: Any) -> str:
        secret = columns.pop("secret", None) or new_secret()
        values = {"id": new_id(), "user_id": user_id, "name": "mine", "url": url, "secret": secret, "secret_hint": "…",
                  "event_types": ["response.completed"], **columns}  # fmt: skip
        with owner(self.url) as cursor:
            insert(cursor, "webhook_endpoints", values)
        return str(values["id"])

    def deliveries(self, user_id: str, count: int = 1, url: str = "http://127.0.0.1:1/", **columns: Any) -> list[str]:
        """Waiting deliveries, due now; to an endpoint with ``endpoint_id``, otherwise to the address itself."""
        ids = [new_id() for _ in range(count)]
        with owner(self.url) as cursor:
            for one in ids:
                values = {"id": one, "user_id": user_id, "url": url, "event_id": f"evt_{one.replace('-', '')}",
                          "event_type": "response.completed", "body": BODY, **columns}  # fmt: skip
                insert(cursor, "webhook_deliveries", values)
        self.wake()
        return ids

    def wake(self) -> None:
        """Let the senders of the test claim at once, as after an end in their process."""
        for sender in self.senders:
            sender.wake()

    def delivery(self, user_id: str, **columns: Any) -> str:
        return self.deliveries(user_id, **columns)[0]

    def secret_of(self, user_id: str) -> str:
        """A secret for the deliveries of a user that belong to no endpoint."""
        secret = new_secret()
        with owner(self.url) as cursor:
            insert(cursor, "webhook_secrets", {"user_id": user_id, "secret": secret})
        return secret

    def run(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        with owner(self.url) as cursor:
            cursor.execute(sql, values)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in (cursor.fetchall() if names else [])]

    def get(self, delivery: str) -> dict[str, Any]:
        sql = """SELECT *, extract(epoch FROM next_attempt_at - clock_timestamp())::float8 AS next_in
            FROM webhook_deliveries WHERE id = %s"""
        return self.run(sql, delivery)[0]

    def attempts(self, delivery: str) -> list[dict[str, Any]]:
        return self.run("SELECT * FROM webhook_attempts WHERE delivery_id = %s ORDER BY n", delivery)

    def turn_the_clock(self, *deliveries: str) -> None:
        """Let the time of the next attempt come, and the lease of a claim end."""
        self.run(
            """UPDATE webhook_deliveries SET next_attempt_at = now(), claimed_until = claimed_until - interval '1 day'
            WHERE id = ANY(%s::uuid[])""",
            list(deliveries),
        )
        self.wake()

    def settled(self, delivery: str, attempts: int) -> dict[str, Any]:
        """The row, once it has so many attempts and none under way."""

        def row() -> dict[str, Any] | None:
            found = self.get(delivery)
            return found if found["attempts"] == attempts and found["claimed_until"] is None else None

        return until(row, 60, f"{attempts} attempts")  # type: ignore[return-value]

    def ended(self, delivery: str) -> dict[str, Any]:
        """The row, once it waits no more."""

        def row() -> dict[str, Any] | None:
            found = self.get(delivery)
            return found if found["state"] != "waiting" else None

        return until(row, 60, "the end of a delivery")  # type: ignore[return-value]


@dataclass
class Receivers:
    """Starts receivers in one loop of a thread of their own."""

    loop: asyncio.AbstractEventLoop
    stack: AsyncExitStack

    def __call__(
        self, handler: Handler | bytes, host: str = "127.0.0.1", port: int = 0, context: ssl.SSLContext | None = None
    ) -> Receiver:
        entering = self.stack.enter_async_context(listening(handler, host, port, context))
        return asyncio.run_coroutine_threadsafe(entering, self.loop).result(60)


@pytest.fixture
def receive() -> Iterator[Receivers]:
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    receivers = Receivers(loop, AsyncExitStack())
    yield receivers
    asyncio.run_coroutine_threadsafe(receivers.stack.aclose(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(60)
    loop.close()


@pytest.fixture
def rows(database_url: str) -> Rows:
    return Rows(database_url)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """All that was logged so far, whether a test of this process has configured the logs or not."""
    caplog.set_level(logging.DEBUG)
    printed: list[str] = []

    def text() -> str:
        printed.extend(capsys.readouterr())
        return caplog.text + "".join(printed)

    return text


MakeSender = Callable[..., WebhookSender]


@pytest.fixture
def make_sender(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeSender]:
    """Starts senders of this process. ``lookup`` finds the addresses of names."""
    monkeypatch.setattr(webhooks, "LEAVE_SECONDS", 0.1)
    database = Database(rows.url, 4, timeout=30)

    def make(
        lookup: Lookup = system_lookup,
        at_once: int = 100,
        per_lane: int = 5,
        seconds: float = 60.0,
        context: ssl.SSLContext | None = None,
    ) -> WebhookSender:
        client = EgressClient(RULES, seconds, Resolver(RULES, lookup), context)
        sender = WebhookSender(database, client, SenderBounds(at_once, per_lane, seconds + 60))
        sender.start()
        rows.senders.append(sender)
        return sender

    yield make
    for sender in rows.senders:
        sender.leave().result(60)
        sender.close()
    database.close()
