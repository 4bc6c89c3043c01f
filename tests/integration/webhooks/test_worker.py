"""Webhooks of real worker processes: sent at the end of an answer, and not lost with a worker."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from openai import OpenAI

from tests.integration.webhooks.conftest import Receivers, Rows
from tests.integration.webhooks.test_sender import OK, hang
from tests.stack import Stack, until

SETTINGS = {"WEBHOOK_ALLOWED_NETWORKS": "127.0.0.1/32", "WEBHOOK_PORTS": "1-65535"}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def settings(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The settings of a worker that trusts the authority of the tests as one of the system's."""
    file: Path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return {**SETTINGS, "SSL_CERT_FILE": str(file)}


def tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_workers_that_come_and_go_lose_no_webhook(
    module_stack: Stack, receive: Receivers, authority: trustme.CA, settings: dict[str, Any]
) -> None:
    """An end is delivered at once; a worker that is killed or leaves during an attempt leaves it to the next one."""
    rows, user = Rows(module_stack.variables["DATABASE_URL"]), module_stack.user.id
    context = tls(authority, "127.0.0.1")
    good, slow = receive(OK, context=context), receive(hang, context=context)
    url, hanging = (f"https://127.0.0.1:{receiver.port}/for-no-log" for receiver in (good, slow))
    endpoint = rows.endpoint(user, url)
    first = module_stack.worker(**settings)

    # The end of an answer.
    secret = rows.run("SELECT secret FROM webhook_endpoints WHERE id = %s", endpoint)[0]["secret"]
    generation = module_stack.start("Hello", model="offline-fast").generation
    assert module_stack.finished(generation.id).status == "completed"
    until(lambda: good.seen, 60, "the webhook of an end")
    event = OpenAI(api_key="unused", webhook_secret=secret).webhooks.unwrap(good.seen[0].body, good.seen[0].headers)
    assert event.type == "response.completed"
    assert json.loads(good.seen[0].body)["data"]["generation_id"] == generation.id
    [sent] = rows.run("SELECT * FROM webhook_deliveries WHERE generation_id = %s", generation.id)
    assert rows.ended(sent["id"])["state"] == "delivered"

    # A worker that is killed during an attempt.
    rows.run("UPDATE webhook_endpoints SET url = %s WHERE id = %s", hanging, endpoint)
    killed = rows.delivery(user, endpoint_id=endpoint)
    until(lambda: slow.connections == 1, 60, "an attempt")
    first.kill()
    assert rows.get(killed)["claimed_until"] is not None
    assert 0 < rows.get(killed)["next_in"] <= 90, "the claim of a killed worker ends by itself"
    second = module_stack.worker(**settings)
    rows.turn_the_clock(killed)
    until(lambda: slow.connections == 2, 60, "an attempt of the next worker")

    # A worker that leaves during an attempt.
    rows.run("UPDATE webhook_endpoints SET url = %s WHERE id = %s", url, endpoint)
    assert second.terminate(60) == 0
    row = rows.get(killed)
    assert (row["state"], row["claimed_until"], row["attempts"]) == ("waiting", None, 0)
    assert row["next_in"] <= 0
    module_stack.worker(**settings)
    assert rows.ended(killed)["state"] == "delivered"
    assert good.seen[-1].headers["webhook-id"] == row["event_id"]
    logs = first.log() + second.log()
    assert "webhook delivered" in logs
    assert secret not in logs
    assert "for-no-log" not in logs
