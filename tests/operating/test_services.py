"""Every service of docker-compose.yml, started by its own command and found healthy by its own check.

One answer goes through all of them, and Flower shows its task to an operator.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dev.instance import Identity
from dev.process import wait_until
from dev.token import mint
from tests.deploy.proxy import binary
from tests.deploy.stack import GIVEN, Stack

pytestmark = pytest.mark.slow

TOKEN = mint(Identity(GIVEN["JWT_SECRET"]), "alice")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All services but the proxy, started in the order of `depends_on`."""
    stack = Stack(tmp_path_factory.mktemp("stack"))
    try:
        stack.start_postgres()
        stack.start_valkey()
        stack.run("migrate")
        for name in ("web", "streams", "worker", "flower"):
            stack.start(name)
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="module")
def address(stack: Stack) -> str:
    """The address for clients: the proxy's where nginx is installed, otherwise that of `web`."""
    if binary() is None:
        return f"http://127.0.0.1:{stack.ports['web']}"
    stack.start_nginx()
    assert stack.proxy
    return stack.proxy.address


@pytest.fixture(scope="module")
def answered(address: str) -> list[dict[str, Any]]:
    """The events of one generation, started and followed by one request through the proxy."""
    request = urllib.request.Request(
        f"{address}/api/v1/generations",
        json.dumps({"message": "Say something.", "model": "offline-fast"}).encode(),
        {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", "Accept": "text/event-stream"},
    )
    with urllib.request.urlopen(request, timeout=90) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        return [json.loads(line[6:]) for line in response if line.startswith(b"data: ")]


def get(url: str, authorization: str | None = None) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": authorization} if authorization else {})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())


def post(address: str, body: dict[str, Any]) -> Any:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/api/v1/generations", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())


def flower(stack: Stack, path: str) -> Any:
    credentials = b64encode(GIVEN["FLOWER_BASIC_AUTH"].encode()).decode()
    return get(f"http://127.0.0.1:{stack.ports['flower']}{path}", f"Basic {credentials}")


@pytest.mark.parametrize("name", ["postgres", "web", "streams", "worker", "flower"])
def test_the_health_check_of_a_running_service_passes(stack: Stack, name: str) -> None:
    # A check has a few seconds; on a busy machine the start of its command alone may take as long.
    assert wait_until(lambda: stack.is_healthy(name), 120)


@pytest.mark.skipif(shutil.which("valkey-cli") is None, reason="valkey-cli is not installed")
def test_the_health_check_of_valkey_passes(stack: Stack) -> None:
    assert wait_until(lambda: stack.is_healthy("valkey"), 60)


def test_the_application_is_no_superuser(stack: Stack) -> None:
    assert stack.database
    [(superuser, bypasses)] = stack.database.execute(
        "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = 'unbroken'"
    )
    assert not superuser
    assert not bypasses


def test_a_second_migration_finds_nothing_to_do(stack: Stack) -> None:
    stack.run("migrate")


def test_an_answer_arrives_complete_through_the_proxy(answered: list[dict[str, Any]]) -> None:
    assert answered[0]["type"] == "open"
    assert answered[-1]["type"] == "done"
    assert answered[-1]["status"] == "completed"


def test_an_answer_can_be_followed_again_in_the_streams_group(
    stack: Stack, address: str, answered: list[dict[str, Any]]
) -> None:
    request = urllib.request.Request(
        f"{address}/api/v1/generations/{answered[0]['generation_id']}/stream?after=0-0",
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    with urllib.request.urlopen(request, timeout=90) as response:
        again = [json.loads(line[6:]) for line in response if line.startswith(b"data: ")]

    assert [event for event in again if event["type"] == "token"] == [
        event for event in answered if event["type"] == "token"
    ]
    assert again[-1] == answered[-1]
    if stack.proxy:
        assert stack.proxy.accesses(2)[-1]["group"] == "streams"


def test_a_poll_is_answered_not_modified_through_the_proxy(address: str, answered: list[dict[str, Any]]) -> None:
    url = f"{address}/api/v1/generations/{answered[0]['generation_id']}"
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept-Encoding": "gzip"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as response:
        tag = response.headers["ETag"]

    again = urllib.request.Request(url, headers={**headers, "If-None-Match": tag})
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(again, timeout=60)
    assert answer.value.code == 304


def test_flower_shows_nothing_to_strangers(stack: Stack) -> None:
    for path in ("/", "/tasks", "/api/tasks", "/api/workers"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(f"http://127.0.0.1:{stack.ports['flower']}{path}")
        assert refused.value.code == 401


def test_flower_sees_the_worker_and_the_task_that_ran(stack: Stack, answered: list[dict[str, Any]]) -> None:
    def is_there() -> bool:
        tasks = flower(stack, "/api/tasks").values()
        return any(answered[0]["generation_id"] in str(task) and task["state"] == "SUCCESS" for task in tasks)

    assert wait_until(is_there, 60, step=0.2), flower(stack, "/api/tasks")
    workers = flower(stack, "/api/workers?refresh=1")
    assert [name.partition("@")[0] for name in workers] == ["worker"]


def test_metrics_are_there_for_the_inside(stack: Stack) -> None:
    for name in ("web", "streams"):
        with urllib.request.urlopen(f"http://127.0.0.1:{stack.ports[name]}/metrics", timeout=60) as response:
            assert response.headers["Content-Type"].startswith(("text/plain", "application/openmetrics-text"))


def test_no_service_writes_a_secret_into_its_log(stack: Stack, answered: list[dict[str, Any]]) -> None:
    for name in stack.processes:
        text = stack.log(name)
        for secret in (*(GIVEN[key] for key in GIVEN if key.endswith(("SECRET", "AUTH"))), TOKEN):
            assert secret not in text, name
        for key in ("DATABASE_PASSWORD", "WEB_DATABASE_PASSWORD", "WORKER_DATABASE_PASSWORD", "VALKEY_PASSWORD"):
            assert f":{GIVEN[key]}@" not in text, name


@pytest.mark.parametrize("name", ["migrate", "web", "streams", "worker", "flower"])
def test_each_line_of_a_service_is_an_object_of_json(stack: Stack, answered: list[dict[str, Any]], name: str) -> None:
    lines = [json.loads(line) for line in stack.log(name).splitlines() if line]
    assert lines
    assert [line for line in lines if not {"event", "level", "time"} <= line.keys()] == []


def test_one_id_is_in_the_lines_of_proxy_web_process_and_worker(stack: Stack, address: str) -> None:
    if stack.proxy is None:
        pytest.skip("nginx is not installed")
    headers = {
        "Authorization": f"Bearer {TOKEN}",
        "Content-Type": "application/json",
        "X-Request-ID": "from-end.to:end",
    }
    body = json.dumps({"message": "Say something.", "model": "offline-fast"}).encode()
    with urllib.request.urlopen(
        urllib.request.Request(f"{address}/api/v1/generations", body, headers), timeout=60
    ) as response:
        generation = json.loads(response.read())["generation"]["id"]
    texts = {"nginx": stack.proxy.output, "web": lambda: stack.log("web"), "worker": lambda: stack.log("worker")}

    def actions(name: str) -> set[str]:
        lines = [json.loads(line) for line in texts[name]().splitlines() if line.startswith("{")]
        return {line["action"] for line in lines if line.get("request_id") == "from-end.to:end"}

    for name, wanted in (("nginx", {"proxy"}), ("web", {"request"}), ("worker", {"claim", "finish"})):
        assert wait_until(lambda: actions(name) >= wanted, 60), (name, actions(name))  # noqa: B023
    about = [json.loads(line) for line in stack.log("worker").splitlines() if generation in line]
    assert {line["request_id"] for line in about if line.get("generation_id") == generation} == {"from-end.to:end"}


def follow(address: str, path: str, after: str = "0-0") -> Iterator[tuple[str, dict[str, Any]]]:
    """Id and content of each numbered event; raises when the stream breaks."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream", "Last-Event-ID": after}
    with urllib.request.urlopen(urllib.request.Request(f"{address}{path}", headers=headers), timeout=90) as response:
        content: dict[str, Any] = {}
        # read1 and not iteration, which would wait for a whole buffer and hide the position of the break.
        buffer = b""
        while data := response.read1():
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                if line.startswith(b"data: "):
                    content = json.loads(line[6:])
                elif line.startswith(b"id: "):
                    yield line[4:].decode(), content


def collect(
    events: Iterator[tuple[str, dict[str, Any]]],
    seen: list[tuple[str, dict[str, Any]]],
    at: int = -1,
    do: Callable[[], None] = lambda: None,
) -> None:
    """Append the events to `seen`; call `do` when there are `at` of them."""
    for event in events:
        seen.append(event)
        if len(seen) == at:
            do()


def test_a_new_version_breaks_streams_which_go_on_without_a_gap(stack: Stack, address: str) -> None:
    if stack.proxy is None:
        pytest.skip("nginx is not installed")
    begun = post(address, {"message": "Take your time.", "model": "offline"})
    path = f"/api/v1/generations/{begun['generation']['id']}/stream"
    seen: list[tuple[str, dict[str, Any]]] = []

    stop = stack.processes["streams"].ask_to_stop
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        collect(follow(address, path), seen, at=20, do=stop)
    # The group `streams` is down, and `web` serves its requests; then it is started again.
    assert stack.processes["streams"].wait(60) == 0
    collect(follow(address, path, after=seen[-1][0]), seen)
    stack.start("streams")

    assert [id for id, _ in seen] == [f"1-{n}" for n in range(len(seen))]
    assert seen[-1][1]["type"] == "done"
    text = "".join(content["content"] for _, content in seen if content["type"] == "token")
    assert seen[-1][1]["sha256"] == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("name", ["flower", "worker", "streams", "web"])
def test_a_service_ends_within_its_grace(stack: Stack, answered: list[dict[str, Any]], name: str) -> None:
    """Each service exits with code 0 after SIGTERM. These tests come last in this module."""
    began = time.monotonic()
    stack.processes[name].ask_to_stop()
    # A service that ignores SIGTERM never ends; the exact duration depends on the machine.
    code = stack.processes[name].wait(3 * stack.grace(name))

    assert code == 0, f"{name} ended with {code} after {time.monotonic() - began:.1f} s"
