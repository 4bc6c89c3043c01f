"""The blocks of docs/operate that are marked to be run, unchanged, against the services of docker-compose.yml.

The tests share one stack and come in the order of their troubles: the last ones replace its secrets and its database.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import psycopg2
import pytest
import redis

from dev.process import wait_until
from tests.deploy import compose
from tests.deploy.docker import Docker, blocks
from tests.deploy.stack import Stack

pytestmark = pytest.mark.slow

PAGES = compose.ROOT / "docs" / "operate"
# A takeover takes seconds, not half a minute.
QUICK = {"LEASE_SECONDS": "5", "HEARTBEAT_SECONDS": "1", "SWEEP_SECONDS": "0.3"}
SECONDS = 60
EVENT = re.compile(r"(?::[^\n]*\n)*data: (?P<data>[^\n]*)(?:\nid: (?P<id>[0-9]+-[0-9]+))?")
NEW = {
    name: f"new-of-{name.lower().replace('_', '-')}" for name in ("WEB_DATABASE_PASSWORD", "WORKER_DATABASE_PASSWORD")
}
RUN = {
    "deploy-a-new-version": 1, "roll-back": 1, "rotate-secrets": 4, "back-up-and-restore": 2, "redis-lost": 4,
    "postgresql-full": 2, "provider-down": 2, "stuck-answers": 3,
}  # fmt: skip


class Service:
    """The running service as its operator and its users see it."""

    def __init__(self, directory: Path) -> None:
        self.stack = Stack(directory, **QUICK)
        self.docker = Docker(self.stack)
        self.secret = self.stack.given["JWT_SECRET"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.stack.ports['web']}"

    def token(self, secret: str = "", role: str | None = "admin", user: str = "root") -> str:
        now = int(time.time())
        claims = {"sub": user, "iat": now, "exp": now + 3600, "aud": "unbroken", "iss": "unbroken"}
        return jwt.encode({**claims, **({"role": role} if role else {})}, secret or self.secret, algorithm="HS256")

    def follow_page(self, page: str, number: int = 0, **variables: str) -> str:
        """Run a block of a page; what it says."""
        return self.docker.run(blocks(PAGES / f"{page}.md")[number], URL=self.url, TOKEN=self.token(), **variables)

    def call(self, path: str, body: Any = None, token: str = "") -> Any:
        request = urllib.request.Request(f"{self.url}{path}", method="GET" if body is None else "POST")
        request.add_header("Authorization", f"Bearer {token or self.token()}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            return json.loads(response.read() or b"null")

    def upload(self, content: bytes) -> str:
        """Store a file. Its id."""
        parts = (b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"', b"", content, b"--b--", b"")
        request = urllib.request.Request(f"{self.url}/api/v1/files", data=b"\r\n".join(parts))
        request.add_header("Authorization", f"Bearer {self.token()}")
        request.add_header("Content-Type", "multipart/form-data; boundary=b")
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            made = json.load(response)
        return str(made["id"])

    def download(self, file: str) -> bytes:
        """The content of a file."""
        request = urllib.request.Request(f"{self.url}/api/v1/files/{file}/content")
        request.add_header("Authorization", f"Bearer {self.token()}")
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            return bytes(response.read())

    def status(self, token: str) -> int:
        try:
            self.call("/api/v1/me", token=token)
        except urllib.error.HTTPError as error:
            return error.code
        return 200

    def begin(self, model: str = "offline") -> str:
        """Start an answer, and wait until it has text. Its id."""
        made = self.call("/api/v1/generations", {"message": "Tell me about tides", "model": model})
        identifier = str(made["generation"]["id"])
        assert wait_until(lambda: self.answer(identifier)["content"] != "", SECONDS)
        return identifier

    def follow(self, generation: str) -> list[tuple[str, Any]]:
        """Position and content of each event of a stream, up to its end. Fails where the stream breaks."""
        request = urllib.request.Request(f"{self.url}/api/v1/generations/{generation}/stream")
        request.add_header("Authorization", f"Bearer {self.token()}")
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            blocks = response.read().decode().split("\n\n")
        found = [EVENT.fullmatch(block.strip()) for block in blocks]
        return [(one["id"] or "", json.loads(one["data"])) for one in found if one]

    def answer(self, generation: str) -> Any:
        return self.call(f"/api/v1/generations/{generation}")

    def ended(self, generation: str) -> Any:
        """The answer, once it has ended."""
        assert wait_until(lambda: self.answer(generation)["status"] not in ("queued", "running"), 2 * SECONDS, step=0.1)
        return self.answer(generation)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("runbooks"))
    try:
        service.docker.run("docker compose up -d --wait postgres valkey")
        service.docker.run("docker compose run --rm migrate")
        service.docker.run("docker compose up -d --wait")
        assert wait_until(lambda: service.call("/readyz")["status"] == "ready", SECONDS)
        # Ten seconds: a block of commands takes less, also on a busy machine.
        service.call(
            "/api/v1/models", {"name": "slow", "provider": "offline", "parameters": {"tokens": 400, "rate": 40}}
        )
        yield service
    finally:
        service.stack.stop()


def test_each_block_that_is_to_be_run_has_its_test() -> None:
    found = {page.stem: len(blocks(page)) for page in sorted(PAGES.glob("*.md"))}
    assert {name: many for name, many in found.items() if many} == RUN


def test_what_only_looks_says_what_the_page_promises(service: Service) -> None:
    said = service.follow_page("redis-lost")
    assert said.startswith("PONG")
    assert "noeviction" in said
    service.follow_page("redis-lost", 1)
    assert '"items":[]' in service.follow_page("redis-lost", 3)
    assert '"items"' in service.follow_page("provider-down")
    said = service.follow_page("postgresql-full")
    assert "pg_replication_slots" not in said
    assert "messages" in said, "the largest tables"
    assert '"status":"ready"' in service.follow_page("postgresql-full", 1)


def test_a_reader_misses_nothing_when_redis_is_replaced_by_an_empty_one(service: Service) -> None:
    running = service.begin("slow")
    with ThreadPoolExecutor(1) as pool:
        followed = pool.submit(service.follow, running)
        service.follow_page("redis-lost", 2)
        events = followed.result(2 * SECONDS)
    numbered = [event for event in events if event[0]]
    assert [position for position, _ in numbered] == [f"1-{n}" for n in range(len(numbered))]
    text = "".join(event["content"] for _, event in events if event["type"] == "token")
    assert events[-1][1]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert "log of a generation lost" in service.stack.log("worker")


def test_stuck_answers_are_found_ended_and_answered_again(service: Service) -> None:
    running = service.begin("slow")
    service.follow_page("stuck-answers", 2, GENERATION=running)
    assert "worker running" in service.follow_page("stuck-answers")
    assert service.ended(running)["status"] == "error"
    assert service.follow_page("provider-down", 1) == f"requeued {running}\n"
    continued = service.begin()
    assert '"status":"ready"' in service.follow_page("stuck-answers", 1)
    assert service.ended(continued)["status"] == "completed", "another worker has taken it over"


def test_an_update_with_new_passwords_and_a_new_signing_key_refuses_nobody(service: Service) -> None:
    """An update replaces the services. The block of the database's passwords and a rollback find nothing to replace."""
    old, new = service.token(), "another-" + "k" * 32
    running = service.begin()
    before = {name: service.stack.given[name] for name in NEW}
    service.stack.change(**NEW, JWT_SECRET=new, JWT_SECRET_PREVIOUS=service.secret)
    for page, number in (("deploy-a-new-version", 0), ("rotate-secrets", 1), ("roll-back", 0)):
        assert '"status":"ready"' in service.follow_page(page, number), page
    assert (service.status(old), service.status(service.token(new))) == (200, 200)
    assert service.ended(running)["status"] == "completed"
    for login, variable in (("unbroken_web", "WEB_DATABASE_PASSWORD"), ("unbroken_worker", "WORKER_DATABASE_PASSWORD")):
        database = f"host=127.0.0.1 port={service.stack.ports['postgres']} dbname=unbroken user={login} password="
        for password, is_good in ((before[variable], False), (NEW[variable], True)):
            assert can_log_in(database + password) == is_good
    service.secret = new


def test_valkeys_password_is_replaced_and_the_previous_signing_key_ends(service: Service) -> None:
    old = service.token("of-this-test-only-" + "j" * 32)
    running = service.begin()
    before = service.stack.given["VALKEY_PASSWORD"]
    service.stack.change(VALKEY_PASSWORD="new-of-valkey", JWT_SECRET_PREVIOUS="")
    assert '"status":"ready"' in service.follow_page("rotate-secrets", 3, NEW="new-of-valkey")
    # Nothing has changed since: the block of JWT_SECRET replaces no service.
    assert '"status":"ready"' in service.follow_page("rotate-secrets", 0)
    assert (service.status(old), service.status(service.token())) == (401, 200)
    assert service.ended(running)["status"] == "completed"
    with redis.Redis(port=service.stack.ports["valkey"], password=before) as client:
        assert_refuses(client)


def test_the_owner_gets_another_password(service: Service) -> None:
    service.follow_page("rotate-secrets", 2, NEW_DATABASE_PASSWORD="new-of-the-owner")
    database = f"host=127.0.0.1 port={service.stack.ports['postgres']} dbname=unbroken user=unbroken password="
    assert (can_log_in(database + "new-of-the-owner"), can_log_in(database + "application")) == (True, False)
    service.stack.change(DATABASE_PASSWORD="new-of-the-owner")


def can_log_in(database: str) -> bool:
    try:
        psycopg2.connect(database).close()
    except psycopg2.OperationalError as error:
        if "password authentication failed" not in str(error):
            raise
        return False
    return True


def assert_refuses(client: redis.Redis) -> None:
    with pytest.raises(redis.AuthenticationError):
        client.ping()


def test_a_backup_is_restored_while_redis_still_knows_more(service: Service) -> None:
    """An answer runs when the dump is made, and has ended and lost its worker's database afterwards."""
    kept = service.begin("offline-fast")
    running = service.begin()
    file = service.upload(b"tides")
    service.follow_page("back-up-and-restore", 0)
    shutil.rmtree(service.stack.directory / "files")
    text = service.ended(running)["content"]
    later = service.begin("offline-fast")
    assert '"status":"ready"' in service.follow_page("back-up-and-restore", 1)
    assert service.ended(kept)["status"] == "completed"
    assert service.download(file) == b"tides"
    restored = service.ended(running)
    assert (restored["status"], restored["content"]) == ("completed", text)
    assert restored["epoch"] > 1000, "no position is used twice"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        service.answer(later)
    assert "restore of the database noticed" in service.stack.log("worker")
