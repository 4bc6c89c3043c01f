"""The receivers of docs/webhooks.md, run unchanged: they accept real events, and refuse what is not signed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from dev.server import free_port
from tests.clients.conftest import Site
from tests.stack import until

pytestmark = pytest.mark.slow

PAGE = Path(__file__).resolve().parents[2] / "docs" / "webhooks.md"
RECEIVERS = re.findall(r"^```python run\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def receiver(code: str, secret: str, port: int, directory: Path) -> Iterator[Path]:
    """The receiver as a process, with the file of what it has printed."""
    (directory / "receiver.py").write_text(code)
    said = directory / "said.txt"
    environment = {**os.environ, "WEBHOOK_SECRET": secret}
    command = [sys.executable, "-m", "flask", "--app", "receiver", "run", "--port", str(port)]
    with said.open("w") as out:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            until(lambda: status_of(port, b"{}", {}) == 400, 60, "the receiver")
            yield said
        finally:
            process.kill()
            process.wait(30)


def status_of(port: int, body: bytes, headers: dict[str, str]) -> int | None:
    """The status of a POST to the receiver; None while it does not listen."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/hook", body, {"Content-Type": "x/y", **headers})
    try:
        with _NO_PROXY.open(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def call(site: Site, method: str, path: str, body: bytes | None = None) -> Any:

    headers = {"Authorization": f"Bearer {site.key()}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{site.web.url}{path}", body, headers, method=method)
    with _NO_PROXY.open(request, timeout=60) as response:
        return json.load(response)


def test_the_page_has_two_receivers_of_fifteen_lines_or_fewer() -> None:
    assert len(RECEIVERS) == 2
    assert all(len([line for line in code.splitlines() if line.strip()]) <= 15 for code in RECEIVERS)


@pytest.mark.parametrize("code", RECEIVERS, ids=["openai", "standardwebhooks"])
def test_a_receiver_takes_the_event_of_a_request(site: Site, code: str, tmp_path: Path) -> None:
    secret = call(site, "GET", "/api/v1/webhook-secret")["secret"]
    port = free_port()
    with receiver(code, secret, port, tmp_path) as said:
        body = b'{"message": "hi", "model": "offline-fast", "webhook_url": "http://127.0.0.1:%d/hook"}' % port
        generation = call(site, "POST", "/api/v1/generations", body)["generation"]["id"]
        wanted = f"response.completed resp_{generation.replace('-', '')}"
        until(lambda: wanted in said.read_text(), 90, "the event")
        forged = {"webhook-id": "evt_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
        assert status_of(port, b"{}", forged) == 400
    (delivery,) = [
        one
        for one in call(site, "GET", "/api/v1/webhook-deliveries?state=delivered")["items"]
        if one["generation_id"] == generation
    ]
    assert [one["status"] for one in delivery["attempts"]] == [204]


def test_openais_sdk_works_with_endpoints(site: Site, tmp_path: Path) -> None:
    client = openai.OpenAI(base_url=site.base_url, api_key=site.key())
    port = free_port()
    url = f"http://127.0.0.1:{port}/hook"
    made = client.webhooks.create(name="mine", url=url, event_types=["response.completed", "response.cancelled"])
    assert client.webhooks.retrieve(made.id).signing_secret_hint == made.signing_secret_hint
    assert client.webhooks.event_types.list().data[0] == "response.completed"
    rotated = client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    assert rotated.signing_secret != made.signing_secret
    # The old secret is still good, because events are signed with both.
    with receiver(RECEIVERS[0], made.signing_secret, port, tmp_path) as said:
        tested = client.webhooks.test(made.id, event_type="response.cancelled")
        assert (tested.status_code, tested.success, tested.webhook_endpoint_id) == (204, True, made.id)
        response = client.responses.create(model="offline-fast", input="hi", background=True)
        until(lambda: f"response.completed {response.id}" in said.read_text(), 90, "the event")
    with pytest.raises(openai.BadRequestError):
        client.webhooks.update(made.id, event_types=["batch.completed"])
    assert [one.id for one in client.webhooks.list(limit=1)] == [made.id]
    assert client.webhooks.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.webhooks.retrieve(made.id)
