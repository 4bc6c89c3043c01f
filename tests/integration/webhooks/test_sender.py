"""The sender of a worker process: every event is delivered at least once, or its delivery is visibly dead."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from openai import OpenAI
from standardwebhooks import Webhook, WebhookVerificationError

from app.domain.webhook_schedule import DELAYS, JITTER
from app.domain.webhook_signature import new_secret
from app.store import webhook_outbox
from app.store.database import Database
from app.store.webhook_outbox import Share
from dev.postgres import Postgres
from tests.factories import owner
from tests.integration.webhooks.conftest import BODY, MakeSender, Receivers, Rows
from tests.stack import until
from tests.unit.webhooks.receivers import Authority, request_of
from worker import webhooks

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
DOWN = b"HTTP/1.1 500 Down\r\nContent-Length: 6\r\n\r\nsorry!"
WIDE = Share(room=1000, per_lane=1000, per_user=1000)


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request_of(reader)
    await asyncio.sleep(3600)


def test_a_delivery_is_signed_and_recorded(rows: Rows, receive: Receivers, make_sender: MakeSender) -> None:
    authority, user, secret = Authority(), rows.user(), new_secret()
    receiver = receive(OK, context=authority.server("hooks.example.com"))
    endpoint = rows.endpoint(user, f"https://hooks.example.com:{receiver.port}/in?key=1", secret=secret)
    make_sender(lambda host, port: ["127.0.0.1"], context=authority.client())
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    delivery = rows.delivery(user, endpoint_id=endpoint, request_id="order-17", traceparent=trace)
    row = rows.ended(delivery)
    assert (row["state"], row["attempts"], row["reason"], row["claimed_until"]) == ("delivered", 1, None, None)
    [attempt] = rows.attempts(delivery)
    assert (attempt["n"], attempt["status"], attempt["error"], attempt["excerpt"]) == (1, 200, None, "good")
    [seen] = receiver.seen
    assert seen.line == "POST /in?key=1 HTTP/1.1"
    assert seen.headers["webhook-id"] == row["event_id"]
    assert seen.headers["content-type"] == "application/json"
    assert (seen.headers["x-request-id"], seen.headers["traceparent"]) == ("order-17", trace)
    Webhook(secret).verify(seen.body, seen.headers)
    event = OpenAI(api_key="unused", webhook_secret=secret).webhooks.unwrap(seen.body, seen.headers)
    assert (event.type, event.data.id) == ("response.completed", "resp_1")


def test_a_delivery_to_an_address_of_a_request_has_the_secret_of_its_user(
    rows: Rows, receive: Receivers, make_sender: MakeSender
) -> None:
    user, receiver = rows.user(), receive(OK)
    secret = rows.secret_of(user)
    make_sender()
    assert rows.ended(rows.delivery(user, url=f"http://127.0.0.1:{receiver.port}/"))["state"] == "delivered"
    Webhook(secret).verify(receiver.seen[0].body, receiver.seen[0].headers)


def test_a_receiver_that_is_down_for_the_whole_schedule(
    rows: Rows, receive: Receivers, make_sender: MakeSender
) -> None:
    user, receiver = rows.user(), receive(DOWN)
    make_sender()
    delivery = rows.delivery(user, endpoint_id=rows.endpoint(user, f"http://127.0.0.1:{receiver.port}/"))
    for number, delay in enumerate(DELAYS[1:], 1):
        row = rows.settled(delivery, number)
        assert row["state"] == "waiting"
        # The clock went on between the attempt and this look at the row.
        assert delay * (1 - JITTER) - 60 <= row["next_in"] <= delay * (1 + JITTER)
        rows.turn_the_clock(delivery)
    row = rows.ended(delivery)
    assert (row["state"], row["attempts"], row["reason"]) == ("dead", 10, "attempts_exhausted")
    attempts = rows.attempts(delivery)
    assert [(one["n"], one["status"], one["excerpt"]) for one in attempts] == [(n, 500, "sorry!") for n in range(1, 11)]
    assert len({seen.headers["webhook-id"] for seen in receiver.seen}) == 1
    assert len(receiver.seen) == 10


def test_a_receiver_that_comes_back_gets_the_event(rows: Rows, receive: Receivers, make_sender: MakeSender) -> None:
    user, down = rows.user(), receive(DOWN)
    endpoint = rows.endpoint(user, f"http://127.0.0.1:{down.port}/")
    make_sender()
    delivery = rows.delivery(user, endpoint_id=endpoint)
    rows.settled(delivery, 1)
    back = receive(OK)
    rows.run("UPDATE webhook_endpoints SET url = %s WHERE id = %s", f"http://127.0.0.1:{back.port}/", endpoint)
    rows.turn_the_clock(delivery)
    assert rows.ended(delivery)["state"] == "delivered"
    assert [one["status"] for one in rows.attempts(delivery)] == [500, 200]
    assert back.seen[0].headers["webhook-id"] == down.seen[0].headers["webhook-id"]


def test_a_replayed_delivery_has_the_whole_schedule_again(
    rows: Rows, receive: Receivers, make_sender: MakeSender
) -> None:
    user, receiver = rows.user(), receive(DOWN)
    make_sender()
    endpoint = rows.endpoint(user, f"http://127.0.0.1:{receiver.port}/")
    delivery = rows.delivery(user, endpoint_id=endpoint, attempts=10, attempts_before=10)
    row = rows.settled(delivery, 11)
    assert row["state"] == "waiting"
    assert row["next_in"] <= DELAYS[1] * (1 + JITTER)
    assert [one["n"] for one in rows.attempts(delivery)] == [11]


def test_a_receiver_that_is_gone_switches_its_endpoint_off(
    rows: Rows, receive: Receivers, make_sender: MakeSender
) -> None:
    user, receiver = rows.user(), receive(b"HTTP/1.1 410 Gone\r\n\r\n")
    endpoint = rows.endpoint(user, f"http://127.0.0.1:{receiver.port}/")
    waiting = rows.delivery(user, endpoint_id=endpoint)
    rows.run("UPDATE webhook_deliveries SET next_attempt_at = now() + interval '1 hour' WHERE id = %s", waiting)
    make_sender()
    delivery = rows.delivery(user, endpoint_id=endpoint)
    for one in (delivery, waiting):
        row = rows.ended(one)
        assert (row["state"], row["reason"]) == ("dead", "endpoint_gone")
    [found] = rows.run("SELECT * FROM webhook_endpoints WHERE id = %s", endpoint)
    assert found["disabled_at"] is not None
    assert found["disabled_reason"] == "gone"
    later = rows.ended(rows.delivery(user, endpoint_id=endpoint))
    assert (later["state"], later["reason"]) == ("dead", "endpoint_disabled")
    assert receiver.connections == 1


@pytest.mark.parametrize("status", [429, 502, 504])
def test_a_receiver_that_slows_down_is_left_alone(
    rows: Rows, receive: Receivers, make_sender: MakeSender, status: int
) -> None:
    answer = f"HTTP/1.1 {status} Slowly\r\nRetry-After: 900\r\nContent-Length: 0\r\n\r\n".encode()
    user, busy, idle = rows.user(), receive(answer), receive(OK)
    make_sender(per_lane=1)
    slow = rows.endpoint(user, f"http://127.0.0.1:{busy.port}/")
    first = rows.delivery(user, endpoint_id=slow)
    assert 600 < rows.settled(first, 1)["next_in"] <= 900
    second = rows.delivery(user, endpoint_id=slow)
    other = rows.delivery(user, endpoint_id=rows.endpoint(user, f"http://127.0.0.1:{idle.port}/"))
    assert rows.ended(other)["state"] == "delivered"
    assert rows.get(second)["attempts"] == 0
    assert busy.connections == 1


def test_a_rotated_secret_is_beside_the_new_one_until_its_time(
    rows: Rows, receive: Receivers, make_sender: MakeSender
) -> None:
    user, receiver, old, new = rows.user(), receive(OK), new_secret(), new_secret()
    endpoint = rows.endpoint(user, f"http://127.0.0.1:{receiver.port}/", secret=old)
    make_sender()
    rows.ended(rows.delivery(user, endpoint_id=endpoint))
    rows.run(
        "UPDATE webhook_endpoints SET secret = %s, previous_secret_until = now() + interval '1 day' WHERE id = %s",
        new,
        endpoint,
    )
    rows.ended(rows.delivery(user, endpoint_id=endpoint))
    rows.run("UPDATE webhook_endpoints SET previous_secret_until = now() WHERE id = %s", endpoint)
    rows.ended(rows.delivery(user, endpoint_id=endpoint))

    def verifies(index: int, secret: str) -> bool:
        seen = receiver.seen[index]
        try:
            Webhook(secret).verify(seen.body, seen.headers)
        except WebhookVerificationError:
            return False
        return True

    assert [(verifies(n, old), verifies(n, new)) for n in range(3)] == [(True, False), (True, True), (False, True)]


def test_a_name_that_changes_to_a_private_address_is_not_called_there(
    rows: Rows, receive: Receivers, make_sender: MakeSender
) -> None:
    """The answer of the name server changes between attempts; a forbidden server listens at each address."""
    user, down = rows.user(), receive(DOWN)
    forbidden = receive(OK, "127.0.0.2", down.port)
    answers = [["127.0.0.1"], ["127.0.0.2"], ["127.0.0.1", "127.0.0.2"], ["::ffff:127.0.0.2"], ["10.0.0.1"]]
    asked: list[list[str]] = []

    def lookup(host: str, port: int) -> list[str]:
        asked.append(answers[len(asked)])
        return asked[-1]

    make_sender(lookup)
    endpoint = rows.endpoint(user, f"http://hooks.example.com:{down.port}/")
    delivery = rows.delivery(user, endpoint_id=endpoint)
    for number in range(1, 6):
        rows.settled(delivery, number)
        assert len(asked) == number, "each attempt looks the name up once"
        if number < 5:
            rows.turn_the_clock(delivery)
    first, *others = rows.attempts(delivery)
    assert first["status"] == 500
    assert all(one["status"] is None and "WEBHOOK_ALLOWED_NETWORKS" in one["error"] for one in others)
    assert all("127.0" not in one["error"] and "10.0" not in one["error"] for one in others)
    assert (down.connections, forbidden.connections) == (1, 0)


def test_a_hundred_hanging_deliveries_delay_nobody_else(
    rows: Rows, receive: Receivers, make_sender: MakeSender
) -> None:
    hanging, honest, receiver = rows.user(), rows.user(), receive(OK)
    slow = receive(hang)
    make_sender(at_once=20, per_lane=5)
    stuck = rows.deliveries(hanging, 100, endpoint_id=rows.endpoint(hanging, f"http://127.0.0.1:{slow.port}/"))
    until(lambda: slow.connections == 5, 60, "five hanging attempts")
    endpoint = rows.endpoint(honest, f"http://127.0.0.1:{receiver.port}/")
    began = time.monotonic()
    assert rows.ended(rows.delivery(honest, endpoint_id=endpoint))["state"] == "delivered"
    logging.getLogger(__name__).info("delivered after %.2f s", time.monotonic() - began)
    assert slow.connections == 5
    assert all(rows.get(one)["attempts"] == 0 for one in stuck[:10])


def test_the_hanging_receivers_of_one_user_take_no_more_than_a_share(
    rows: Rows, receive: Receivers, make_sender: MakeSender
) -> None:
    hanging, honest, receiver, slow = rows.user(), rows.user(), receive(OK), receive(hang)
    make_sender(at_once=8, per_lane=2)
    for _ in range(4):
        rows.deliveries(hanging, 4, endpoint_id=rows.endpoint(hanging, f"http://127.0.0.1:{slow.port}/"))
    until(lambda: slow.connections == 2, 60, "the share of a user")
    for _ in range(3):
        endpoint = rows.endpoint(honest, f"http://127.0.0.1:{receiver.port}/")
        assert rows.ended(rows.delivery(honest, endpoint_id=endpoint))["state"] == "delivered"
    assert slow.connections == 2


def test_the_claims_of_a_dead_process_are_taken_over_after_their_lease(
    rows: Rows, receive: Receivers, make_sender: MakeSender, database_url: str
) -> None:
    user, receiver = rows.user(), receive(OK)
    delivery = rows.delivery(user, endpoint_id=rows.endpoint(user, f"http://127.0.0.1:{receiver.port}/"))
    database = Database(database_url, 1, timeout=30)
    with database.system() as tx:
        [[dead], _] = webhook_outbox.claim(tx, WIDE, 3600)
    with database.system() as tx:
        assert webhook_outbox.claim(tx, WIDE, 3600)[0] == [], "a claimed delivery is not due"
    make_sender()
    other = rows.delivery(user, endpoint_id=dead.endpoint_id)
    rows.ended(other)
    assert rows.get(delivery)["state"] == "waiting"
    rows.turn_the_clock(delivery)
    assert rows.ended(delivery)["state"] == "delivered"
    with database.system() as tx:
        assert not webhook_outbox.end(tx, dead, "user_blocked"), "a replaced claim settles nothing"
    database.close()
    assert rows.get(delivery)["state"] == "delivered"


def test_a_sender_that_leaves_gives_back_what_hangs(rows: Rows, receive: Receivers, make_sender: MakeSender) -> None:
    user, slow, receiver = rows.user(), receive(hang), receive(OK)
    endpoint = rows.endpoint(user, f"http://127.0.0.1:{slow.port}/")
    sender = make_sender()
    delivery = rows.delivery(user, endpoint_id=endpoint)
    until(lambda: slow.connections == 1, 60, "an attempt")
    rows.run("UPDATE webhook_endpoints SET url = %s WHERE id = %s", f"http://127.0.0.1:{receiver.port}/", endpoint)
    sender.leave().result(60)
    row = rows.get(delivery)
    assert (row["claimed_until"], row["attempts"]) == (None, 0)
    assert row["next_in"] <= 0
    assert receiver.connections == 0, "a sender that has left claims no more"
    make_sender()
    assert rows.ended(delivery)["state"] == "delivered"


@pytest.mark.parametrize("reason", ["user_blocked", "endpoint_gone", "endpoint_disabled", "secret_missing"])
def test_a_delivery_that_may_not_be_sent_is_dead_with_its_reason(
    rows: Rows, receive: Receivers, make_sender: MakeSender, reason: str
) -> None:
    user, receiver = rows.user(), receive(OK)
    url = f"http://127.0.0.1:{receiver.port}/"
    endpoint: str | None = rows.endpoint(user, url)
    if reason == "user_blocked":
        rows.run("UPDATE users SET blocked_at = now() WHERE id = %s", user)
    elif reason == "endpoint_gone":
        rows.run("DELETE FROM webhook_endpoints WHERE id = %s", endpoint)
    elif reason == "endpoint_disabled":
        rows.run("UPDATE webhook_endpoints SET disabled_at = now(), disabled_reason = 'x' WHERE id = %s", endpoint)
    else:
        endpoint = None
    make_sender()
    row = rows.ended(rows.delivery(user, url=url, endpoint_id=endpoint))
    assert (row["state"], row["reason"], row["attempts"]) == ("dead", reason, 0)
    assert receiver.connections == 0


def test_a_test_has_one_attempt(rows: Rows, receive: Receivers, make_sender: MakeSender) -> None:
    user, receiver = rows.user(), receive(DOWN)
    endpoint = rows.endpoint(user, f"http://127.0.0.1:{receiver.port}/")
    make_sender()
    row = rows.ended(rows.delivery(user, endpoint_id=endpoint, is_test=True))
    assert (row["state"], row["reason"], row["attempts"]) == ("dead", "test_failed", 1)


def test_a_body_that_no_text_can_be_made_of_is_an_excerpt(
    rows: Rows, receive: Receivers, make_sender: MakeSender
) -> None:
    user, receiver = rows.user(), receive(b"HTTP/1.1 200 OK\r\n\r\n\x00\xff\xfea\x00")
    make_sender()
    delivery = rows.delivery(user, endpoint_id=rows.endpoint(user, f"http://127.0.0.1:{receiver.port}/"))
    assert rows.ended(delivery)["state"] == "delivered"
    assert rows.attempts(delivery)[0]["excerpt"] == "\ufffd\ufffd\ufffda\ufffd"


def test_no_log_line_has_a_secret_or_the_query_of_an_address(
    rows: Rows, receive: Receivers, make_sender: MakeSender, logged: Callable[[], str]
) -> None:
    user, secret = rows.user(), new_secret()
    make_sender()
    for url in ("http://127.0.0.1:1/hidden?token=hidden", "http://127.0.0.2:1/hidden?token=hidden"):
        delivery = rows.delivery(user, endpoint_id=rows.endpoint(user, url, secret=secret), is_test=True)
        rows.ended(delivery)
    until(lambda: logged().count("webhook test failed") == 2, 60, "the log lines of two ends")
    assert "hidden" not in logged()
    assert secret.removeprefix("whsec_")[:12] not in logged()


def test_the_signed_time_is_that_of_the_attempt(rows: Rows, receive: Receivers, make_sender: MakeSender) -> None:
    user, receiver = rows.user(), receive(OK)
    old = datetime.now().astimezone() - timedelta(days=3)
    make_sender()
    endpoint = rows.endpoint(user, f"http://127.0.0.1:{receiver.port}/")
    rows.ended(rows.delivery(user, endpoint_id=endpoint, created_at=old))
    assert abs(int(receiver.seen[0].headers["webhook-timestamp"]) - time.time()) < 250
    assert receiver.seen[0].body == BODY


def test_a_drained_sender_claims_nothing_until_it_works_again(
    rows: Rows, receive: Receivers, make_sender: MakeSender
) -> None:
    user, slow, receiver = rows.user(), receive(hang), receive(OK)
    sender = make_sender()
    rows.delivery(user, endpoint_id=rows.endpoint(user, f"http://127.0.0.1:{slow.port}/"))
    until(lambda: slow.connections == 1, 60, "an attempt")
    sender.pause()
    assert not sender.is_idle, "what is under way goes on"
    delivery = rows.delivery(user, endpoint_id=rows.endpoint(user, f"http://127.0.0.1:{receiver.port}/"))
    other = make_sender()
    other.pause()
    until(lambda: other.is_idle, 60, "a sender without a delivery")
    sender.wake()
    other.wake()
    assert rows.get(delivery)["claimed_until"] is None
    sender.resume()
    assert rows.ended(delivery)["state"] == "delivered"


def test_an_attempt_is_recorded_when_the_database_is_back(
    rows: Rows, receive: Receivers, make_sender: MakeSender, postgres: Postgres, logged: Callable[[], str]
) -> None:
    """The receiver answers while PostgreSQL takes no connection; the event is not sent a second time."""
    answer = threading.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        while not answer.is_set():
            await asyncio.sleep(0.01)
        writer.write(OK)
        await writer.drain()

    user, receiver = rows.user(), receive(wait)
    make_sender()
    delivery = rows.delivery(user, endpoint_id=rows.endpoint(user, f"http://127.0.0.1:{receiver.port}/"))
    until(lambda: receiver.connections == 1, 60, "an attempt")
    name = rows.run("SELECT current_database() AS name")[0]["name"]
    other = Rows(postgres.url("postgres"))
    other.run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    try:
        other.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name)
        answer.set()
        until(lambda: "webhook claim failed" in logged(), 60, "an outage")
    finally:
        other.run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert rows.ended(delivery)["state"] == "delivered"
    assert len(rows.attempts(delivery)) == 1
    assert receiver.connections == 1


def test_a_sender_that_leaves_gives_back_what_it_claims_meanwhile(
    rows: Rows, receive: Receivers, make_sender: MakeSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim waits for PostgreSQL while the sender leaves, and gets its delivery afterwards."""
    user, slow = rows.user(), receive(hang)
    sender = make_sender()
    monkeypatch.setattr(webhooks, "LEAVE_SECONDS", 2.0)
    sender.pause()
    delivery = rows.delivery(user, endpoint_id=rows.endpoint(user, f"http://127.0.0.1:{slow.port}/"))
    waits = "SELECT 1 FROM pg_locks WHERE relation = 'webhook_deliveries'::regclass AND NOT granted"
    with owner(rows.url) as cursor:
        cursor.execute("LOCK TABLE webhook_deliveries IN EXCLUSIVE MODE")
        sender.resume()
        until(lambda: rows.run(waits), 60, "a claim that waits")
        leaving = sender.leave()
    leaving.result(60)
    row = rows.get(delivery)
    assert (row["state"], row["claimed_until"]) == ("waiting", None)
    assert row["next_in"] <= 0
