"""A worker reads the upstream's list of models. Web processes show the stored list and have no key."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from app.config import Settings, WorkerSettings
from app.domain.upstreams import Upstream
from app.services import upstream_models as copies
from app.services.model_catalog import UpstreamSilent
from app.services.upstream_models import UpstreamLists
from app.store import upstream_models
from app.store.database import Database, execute
from dev.run import take_upstream_credentials
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, until
from worker.model_lists import ModelLists
from worker.providers.base import ProviderError

KEY = "sk-of-the-worker-0123456789"
OPENAI = Upstream("openai", "openai", "http://user:secret@up.example/api?key=hidden")


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(defaults={"tokens": 5, "rate": 0}) as upstream:
        yield upstream


@pytest.fixture
def stack(tmp_path: Path, database_url: str, redis_url: str, upstream: FakeUpstream) -> Iterator[Stack]:
    stack = Stack(tmp_path, database_url, redis_url, OPENAI_BASE_URL=upstream.base_url, OPENAI_API_KEY=KEY)
    yield stack
    stack.stop()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, 2)
    yield database
    database.close()


def environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_bytes().decode()


def get(stack: Stack, url: str) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {stack.token()}"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
        return json.load(response)


def test_a_web_process_lists_what_a_worker_has_stored_and_holds_no_key(stack: Stack) -> None:
    worker = stack.worker()
    web = stack.web()

    def native() -> set[str]:
        return {item["name"] for item in get(stack, f"{web.url}/api/v1/models")["items"]}

    def compatible() -> set[str]:
        return {item["id"] for item in get(stack, f"{web.url}/v1/models")["data"]}

    # The worker reads the list beside its start.
    until(lambda: "fake" in native(), what="the list")
    assert native() == compatible()
    assert KEY in environment_of(worker.pid)
    for process in (web.pid, *children(web.pid)):
        assert "OPENAI_API_KEY" not in environment_of(process)
        assert KEY not in environment_of(process)
    worker.kill()
    assert "fake" in native()
    fresh = stack.web()
    assert "fake" in {item["id"] for item in get(stack, f"{fresh.url}/v1/models")["data"]}


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def test_settings_of_a_web_process_have_no_credentials_of_the_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "DATABASE_URL": "postgresql://h/d",
        "REDIS_URL": "redis://h",
        "JWT_SECRET": "j" * 32,
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": "https://user:pa%40ss@up.example:8443/v1?key=hidden",
    }.items():
        monkeypatch.setenv(name, value)
    web, worker = Settings.load(), WorkerSettings.load()
    assert "openai_api_key" not in web.model_dump()
    assert web.openai_base_url == "https://up.example:8443/v1"
    assert not [one for one in (KEY, "pa%40ss", "pa@ss", "hidden") if one in str(web.model_dump())]
    assert worker.openai_base_url == "https://user:pa%40ss@up.example:8443/v1?key=hidden"
    assert worker.openai_api_key is not None
    assert worker.openai_api_key.get_secret_value() == KEY


def test_make_run_gives_the_credentials_of_the_upstream_to_the_worker_alone() -> None:
    given = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://user:word@h:1/v1?key=hidden", "PORT": "1"}
    environment = dict(given)
    assert take_upstream_credentials(environment) == {name: given[name] for name in given if name != "PORT"}
    assert environment == {"OPENAI_BASE_URL": "http://h:1/v1", "PORT": "1"}
    unreadable = {"OPENAI_BASE_URL": "http://[::1"}
    take_upstream_credentials(unreadable)
    assert unreadable == {"OPENAI_BASE_URL": "http://[::1"}


def lists(database: Database, *bodies: bytes | Exception | None, total_seconds: float = 3.0) -> ModelLists:
    """Model lists whose fetches return these bodies in turn; None: the fetch never ends."""
    left = list(bodies)

    async def fetch() -> bytes:
        body = left.pop(0)
        if body is None:
            await asyncio.Event().wait()
        if isinstance(body, Exception):
            raise body
        assert isinstance(body, bytes)
        return body

    return ModelLists(database, OPENAI, fetch, total_seconds)


def stored(database: Database) -> upstream_models.UpstreamModels:
    with database.without_user() as tx:
        return upstream_models.every(tx, ["openai"])["openai"]


@pytest.mark.parametrize(
    ("failure", "trouble"),
    [
        (ProviderError("upstream_unavailable", "The upstream answered 503.", retryable=True), "answered 503"),
        (None, "did not come within 0.2 seconds"),
        (b"<html>", "is not JSON"),
        (RuntimeError("odd"), "RuntimeError"),
    ],
)
def test_a_failed_refresh_keeps_the_names_and_names_the_reason(
    database: Database, failure: bytes | Exception | None, trouble: str
) -> None:
    refresher = lists(database, b'["m"]', failure, b'["n"]', total_seconds=0.2)

    async def refresh() -> list[upstream_models.UpstreamModels]:
        seen = []
        for _ in range(3):
            await refresher.refresh(expired=True)
            seen.append(await asyncio.to_thread(stored, database))
        return seen

    first, failed, last = asyncio.run(refresh())
    assert (first.names, first.trouble, failed.names, last.names) == (("m",), None, ("m",), ("n",))
    assert trouble in (failed.trouble or "")
    assert failed.listed_at == first.listed_at
    assert last.trouble is None


def test_of_many_workers_one_refreshes_and_a_fresh_list_is_left_alone(database: Database) -> None:
    fetched: list[int] = []

    async def fetch() -> bytes:
        fetched.append(1)
        await asyncio.sleep(0)
        return b'["m"]'

    async def refresh() -> None:
        workers = [ModelLists(database, OPENAI, fetch) for _ in range(5)]
        await asyncio.gather(*(worker.refresh() for worker in workers))
        await workers[0].refresh()

    asyncio.run(refresh())
    assert len(fetched) == 1


def test_a_reservation_without_an_outcome_ends(database: Database) -> None:
    with database.system() as tx:
        assert upstream_models.claim(tx, "openai", 60)
        assert not upstream_models.claim(tx, "openai", 60)
        execute(tx, "UPDATE upstream_models SET refresh_at = now() - interval '1 second'")
        assert upstream_models.claim(tx, "openai", 60)


def test_a_process_reads_the_row_once_in_a_while(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(lists(database, b'["m"]').refresh())
    upstream = UpstreamLists(database, ["openai"])
    assert upstream.read()["openai"].names == ("m",)
    with database.system() as tx:
        execute(tx, "UPDATE upstream_models SET names = '{n}'")
    assert upstream.read()["openai"].names == ("m",)
    monkeypatch.setattr(copies, "COPY_SECONDS", 0.0)
    assert upstream.read()["openai"].names == ("n",)


def test_without_a_list_and_a_default_a_message_without_a_model_is_refused(stack: Stack) -> None:
    with pytest.raises(UpstreamSilent, match="no worker has read it yet"):
        stack.start()
    asyncio.run(lists(stack.resources.database, b"[]x").refresh())
    with pytest.raises(UpstreamSilent, match="not JSON"):
        stack.start()
    assert stack.start(model="fake").generation.model == "fake"
    with stack.resources.database.system() as tx:
        upstream_models.replace(tx, "openai", ["text-embedding-3", "fake"], 300)
    assert stack.start().generation.model == "fake"


def test_a_new_trouble_is_logged_once_with_the_address_and_a_hint(database: Database) -> None:
    shown = "http://up.example/api"
    failure = ProviderError("upstream_rejected", "The upstream answered 404 Not Found.", retryable=False)
    refresher = lists(database, failure, failure, b"[]")

    async def refresh() -> None:
        for _ in range(3):
            await refresher.refresh(expired=True)

    with structlog.testing.capture_logs() as lines:
        asyncio.run(refresh())
    troubles = ("The upstream answered 404 Not Found", "the upstream's list of models is empty")
    assert [line["error"] for line in lines if line["event"] == "upstream lists no models"] == [
        f"OPENAI_BASE_URL: {shown} lists no models: {trouble}. Most addresses end in /v1: try {shown}/v1."
        for trouble in troubles
    ]


def test_an_upstream_without_a_list_is_an_error_of_its_own(stack: Stack, upstream: FakeUpstream) -> None:
    web = stack.web(OPENAI_BASE_URL=upstream.base_url.removesuffix("/v1"))
    worker = stack.worker(OPENAI_BASE_URL=upstream.base_url.removesuffix("/v1"))
    until(lambda: "Most addresses end in /v1: try" in worker.log(), what="the hint")
    status, native = post(stack, f"{web.url}/api/v1/generations", {"message": "Hi"})
    assert (status, native["type"]) == (503, "/problems/upstream-silent")
    assert native["title"] == "The upstream lists no models"
    assert "404" in native["detail"]
    assert get(stack, f"{web.url}/v1/models/unlisted")["id"] == "unlisted"


def post(stack: Stack, url: str, body: dict[str, Any]) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {stack.token()}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
