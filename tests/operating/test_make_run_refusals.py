"""`make run` and its companions stop at once, with one sentence that names the fault and its place."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from app.domain.upstreams import Upstream
from app.store.schema import too_old
from dev import checks
from dev.checks import check_database, check_disk, doubts_about_upstreams
from dev.postgres import OWNER, Postgres
from dev.process import ROOT, CannotRun
from tests.fakes.old_postgres import OldPostgres, newest_too_old
from tests.faults.test_frozen_database import frozen
from tests.integration.test_log_lines import lines_of

# A bound in seconds for a loaded machine, on which imports alone take some.
AT_ONCE = 25


def run(tmp_path: Path, **variables: str) -> tuple[str, int]:
    """The text of `make run` on stderr, and its run time in whole seconds. It has to fail."""
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path / "data"), "PORT": "0", **variables}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "dev.run"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr, int(time.monotonic() - began)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port whose server accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_wrong_database_url_is_named_at_once(tmp_path: Path, postgres: Postgres, silent: int) -> None:
    port = postgres.port
    cases = {
        "postgresql://u:secret@127.0.0.1:1/db": "127.0.0.1:1",
        "postgresql://u:secret@no-such-host.invalid/db": "no-such-host.invalid:5432",
        f"postgresql://unbroken:secret@127.0.0.1:{port}/postgres": "password authentication failed",
        postgres.url("no_such_database", "postgres"): 'database "no_such_database" does not exist',
        f"postgresql://u:secret@127.0.0.1:{silent}/db": f"127.0.0.1:{silent}",
        "nonsense": "DATABASE_URL",
    }
    for url, wanted in cases.items():
        said, seconds = run(tmp_path, DATABASE_URL=url)
        assert wanted in said, url
        assert "DATABASE_URL" in said
        assert "secret" not in said
        assert seconds < AT_ONCE
        assert url == "nonsense" or said.count("\n") == 1, said


def test_a_wrong_redis_url_is_named_at_once(tmp_path: Path, redis_url: str, silent: int) -> None:
    wrong = redis_url.replace("redis://:", "redis://:wrong", 1)
    cases = {"redis://127.0.0.1:1/0": "127.0.0.1:1", f"redis://127.0.0.1:{silent}": f"127.0.0.1:{silent}", wrong: ""}
    for url, wanted in cases.items():
        said, seconds = run(tmp_path, REDIS_URL=url)
        assert said.startswith("REDIS_URL: the server at")
        assert wanted in said
        assert seconds < AT_ONCE
        assert said.count("\n") == 1, said


def test_a_frozen_server_is_given_up(postgres: Postgres) -> None:
    url = postgres.url("postgres")
    with frozen(postgres), pytest.raises(CannotRun, match=f"127.0.0.1:{postgres.port}"):
        check_database("DATABASE_URL", url)


@pytest.fixture(scope="module")
def old_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldPostgres]:
    if newest_too_old() is None:
        pytest.skip("no PostgreSQL before version 18 is installed (apt-get install postgresql-15)")
    server = OldPostgres(tmp_path_factory.mktemp("old-postgres"))
    server.start()
    server.ensure_database()
    yield server
    server.stop()


@pytest.mark.parametrize(
    "command",
    [("dev.run",), ("app.ops.migrate",), ("gunicorn", "wsgi:app"), ("celery", "-A", "worker.celery_app", "worker")],
    ids=lambda command: command[0],
)
def test_an_old_postgresql_is_named_by_every_program(
    tmp_path: Path, old_postgres: OldPostgres, redis_url: str, command: tuple[str, ...]
) -> None:
    environment = {
        "PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path / "data"), "PORT": "0", "BIND": "127.0.0.1:0",
        "DATABASE_URL": old_postgres.url(login=OWNER), "REDIS_URL": redis_url, "JWT_SECRET": "x" * 40,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode not in (0, None)
    said = done.stdout + done.stderr
    version = newest_too_old().parent.name  # type: ignore[union-attr]
    sentence = f"the server at 127.0.0.1:{old_postgres.port} is PostgreSQL {version}; version 18 or newer is needed."
    assert said.count(f"DATABASE_URL: {sentence}") == 1, said
    assert "Traceback" not in said
    assert "CREATE" not in said


def test_the_first_sufficient_version_is_let_in() -> None:
    """server_version_num has the minor version in its last four digits."""
    assert too_old(179_999, "DATABASE_URL", "db:5432") is not None
    assert too_old(180_000, "DATABASE_URL", "db:5432") is None


@pytest.mark.parametrize("program", ["app.ops.migrate", "alembic"])
def test_a_migration_names_the_database_that_it_does_not_reach(program: str) -> None:
    command = [sys.executable, "-m", program, *(["upgrade", "head"] if program == "alembic" else [])]
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/db"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    [line] = lines_of(done.stdout + done.stderr)
    assert line["event"].startswith("DATABASE_URL: the database at 127.0.0.1:1 cannot be used: ")
    assert "secret" not in line["event"]


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "NEEDED_BYTES", 10**18)
    with pytest.raises(CannotRun, match=f"DATA_DIR .{tmp_path}. is full"):
        check_disk(tmp_path)


def test_a_data_dir_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said, _ = run(tmp_path, DATA_DIR=str(tmp_path / "file"))
    assert "DATA_DIR" in said
    assert said.count("\n") == 1
    (tmp_path / "half" / "run" / "lock").mkdir(parents=True)
    said, _ = run(tmp_path, DATA_DIR=str(tmp_path / "half"))
    assert "DATA_DIR" in said
    assert said.count("\n") == 1


def test_a_port_in_use_is_named(tmp_path: Path, silent: int) -> None:
    said, _ = run(tmp_path, PORT=str(silent))
    assert f"port {silent}" in said


def test_only_roles_that_exist_are_minted(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), "USER": "alice", "ROLE": "root"}
    done = subprocess.run(
        [sys.executable, "-m", "dev.token"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == "ROLE must be one of user, operator, support, admin, or nothing; not 'root'"


HINT = "Most addresses end in /v1: try"
asked: list[tuple[str, str | None]] = []


class _Upstream(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked.append((self.path, self.headers.get("Authorization")))
        good = self.path.partition("?")[0] == "/v1/models"
        body = b'{"data": [{"id": "m"}]}' if good else b"<html>"
        self.send_response(200 if good else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None: ...


def test_a_base_url_without_v1_is_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Upstream)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"

    def doubts(address: str, **fields: Any) -> list[str]:
        return doubts_about_upstreams([Upstream("openai", "openai", address, **fields)])

    assert doubts(url) == [
        f"OPENAI_BASE_URL: {url} lists no models: The upstream answered 404 Not Found: <html>. {HINT} {url}/v1."
    ]
    assert doubts(f"{url}/v1", api_key="key") == []
    assert doubts(f"{url.replace('//', '//me:pa%40ss@')}/v1?api-version=2024-06-01") == []
    assert asked[-1] == ("/v1/models?api-version=2024-06-01", "Basic bWU6cGFAc3M=")
    server.shutdown()
    server.server_close()
    [gone] = doubts(url.replace("http://", "http://me:secret@"))
    assert gone == f"OPENAI_BASE_URL: {url} lists no models: The upstream cannot be reached."
    monkeypatch.setenv("all_proxy", "socks5h://me:secret@proxy:1")
    monkeypatch.setenv("no_proxy", "")
    [socks] = doubts_about_upstreams([Upstream("my-one", "anthropic", "http://up.example")])
    assert socks.startswith(
        "UPSTREAM_MY_ONE_BASE_URL: http://up.example lists no models: The environment names a SOCKS"
    )
    assert "secret" not in socks


def copy(tmp_path: Path) -> Path:
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "dev", checkout / "dev", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "requirements.txt", "constraints.txt"):
        shutil.copy(ROOT / name, checkout)
    (checkout / ".venv").mkdir()
    return checkout


def test_clean_is_refused_under_a_running_instance(tmp_path: Path) -> None:
    checkout = copy(tmp_path)
    instance = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "dev.run"], cwd=checkout)
    try:
        refused = subprocess.run(["make", "clean"], cwd=checkout, capture_output=True, text=True, check=False)
        assert refused.returncode != 0
        assert f"process {instance.pid}" in refused.stderr
        assert (checkout / ".venv").exists()
    finally:
        instance.kill()
        instance.wait()
    subprocess.run(["make", "clean"], cwd=checkout, check=True)
    assert not (checkout / ".venv").exists()


@pytest.mark.skipif(shutil.which("setpriv") is None or os.geteuid() != 0, reason="needs root and setpriv")
def test_a_checkout_that_cannot_be_written_is_named_at_once(tmp_path: Path) -> None:
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        folder.chmod(0o755)
    checkout = copy(tmp_path)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "dev/venv.sh", "requirements.txt", "x"],
        cwd=checkout, capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"The checkout {checkout} cannot be written, and .venv has to be made in it.\n"
