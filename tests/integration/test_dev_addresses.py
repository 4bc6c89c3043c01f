"""The logins of `make run`: made behind one given address, and given up where a pooler accepts only that address."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from app.config import Settings
from app.ops.health import refusal
from app.store.logins import LoginRefused, connect, prepare
from dev.addresses import Addresses
from dev.postgres import ADMINISTRATOR, OWNER, WEB, WORKER, Postgres
from dev.process import ROOT
from tests.fakes.pgbouncer import PgBouncer, binary
from tests.logins import as_login, migrate


@pytest.fixture
def given(postgres: Postgres, migrated_template: str) -> Iterator[str]:
    """The address of a database whose owner is the only given login. It names no driver, unlike SQLAlchemy's form.

    Its migrations are applied: ``migrate`` only prepares logins there.
    """
    name = f"given_{uuid4().hex[:8]}"
    postgres.clone_database(migrated_template, name)
    yield postgres.url(name, OWNER).replace("+psycopg2", "")
    postgres.drop_database(name)


def refused(url: str, *, worker: bool = False, logins: str = "separate") -> str | None:
    settings = Settings(
        database_url=url, redis_url="redis://127.0.0.1:1/0", jwt_secret="s" * 32, database_logins=logins
    )
    return refusal(settings, sees_everybody=worker)


def roles(postgres: Postgres) -> set[str]:
    return {row[0] for row in postgres.execute("SELECT rolname FROM pg_roles WHERE rolcanlogin")}


def test_one_address_becomes_three_logins(postgres: Postgres, given: str, tmp_path: Path) -> None:
    chosen = Addresses.from_environment({"DATABASE_URL": given}, tmp_path)
    migrate(chosen.owner)
    addresses, remark = chosen.prepared()
    assert remark is None
    assert len({make_url(url).username for url in (addresses.owner, addresses.web, addresses.worker)}) == 3
    assert addresses.logins == "separate"
    assert refused(addresses.web) is None
    assert refused(addresses.worker, worker=True) is None
    # A second start uses the logins of the first. Another instance on the server has its own.
    again, _ = Addresses.from_environment({"DATABASE_URL": given}, tmp_path).prepared()
    assert again == addresses
    other, _ = Addresses.from_environment({"DATABASE_URL": given}, tmp_path / "other").prepared()
    assert other.web != addresses.web
    assert refused(addresses.web) is None


def test_addresses_that_are_given_are_used(postgres: Postgres, given: str, tmp_path: Path) -> None:
    environment = {
        "MIGRATION_DATABASE_URL": given,
        "DATABASE_URL": as_login(given, WEB),
        "WORKER_DATABASE_URL": as_login(given, WORKER),
    }
    migrate(given)
    addresses, remark = Addresses.from_environment(environment, tmp_path).prepared()
    assert remark is None
    names = [make_url(url).username for url in (addresses.owner, addresses.web, addresses.worker)]
    assert names == [OWNER, WEB, WORKER]
    assert not list(tmp_path.iterdir()), "no login was made"


def test_a_superusers_address_serves_nobody_itself(postgres: Postgres, given: str, tmp_path: Path) -> None:
    superuser = as_login(given, ADMINISTRATOR)
    migrate(given)
    assert "for whom row-level security does not hold" in str(refused(superuser))
    assert "for whom row-level security does not hold" in str(refused(superuser, logins="one"))
    addresses, remark = Addresses.from_environment({"DATABASE_URL": superuser}, tmp_path).prepared()
    assert remark is None
    assert refused(addresses.web) is None


def test_a_pooler_that_knows_one_login_is_served_with_that_one(postgres: Postgres, given: str, tmp_path: Path) -> None:
    if binary() is None:
        pytest.skip("pgbouncer is not installed: a pooler that knows one login is not tested")
    with PgBouncer(tmp_path / "pgbouncer", postgres, logins=(OWNER,)) as pooler:
        url = pooler.url(given)
        migrate(given)
        addresses, remark = Addresses.from_environment({"DATABASE_URL": url}, tmp_path / "secrets").prepared()
        assert remark is not None
        assert "share the login of DATABASE_URL" in remark
        assert addresses.logins == "one"
        assert make_url(addresses.web).username == make_url(addresses.worker).username == OWNER
        assert "owns or may become the owner of" in str(refused(addresses.web))
        assert refused(addresses.web, logins="one") is None


def test_who_may_make_no_logins_is_told_what_to_run(postgres: Postgres, given: str) -> None:
    migrate(given)
    postgres.execute("CREATE ROLE {} LOGIN PASSWORD 'guest'", "guest_without_rights")
    guest = make_url(given).set(username="guest_without_rights", password="guest").render_as_string(hide_password=False)
    fresh = make_url(given).set(username="fresh_login", password="fresh").render_as_string(hide_password=False)
    with pytest.raises(LoginRefused, match='CREATE ROLE "fresh_login" LOGIN PASSWORD') as refused_:
        prepare(guest, fresh, fresh)
    assert "WITH INHERIT FALSE, SET TRUE" in str(refused_.value)
    assert "fresh_login" not in roles(postgres)
    postgres.execute("DROP ROLE guest_without_rights")


def test_a_web_login_that_could_become_the_system_is_refused_and_mended_by_the_sentence(
    postgres: Postgres, given: str
) -> None:
    migrate(given)
    web = as_login(given, WEB)
    postgres.execute("GRANT unbroken_system TO {}", WEB)
    try:
        sentence = refused(web)
        assert sentence is not None
        assert "may become unbroken_system" in sentence
        postgres.execute(sentence.partition("run: ")[2].replace("{", "").replace("}", ""))
        assert refused(web) is None
    finally:
        postgres.execute("REVOKE unbroken_system FROM {}", WEB)


@pytest.mark.parametrize("module", ["gunicorn wsgi:app", "celery --app worker.celery_app worker --pool threads"])
def test_a_process_does_not_start_with_the_owners_login(given: str, redis_url: str, module: str) -> None:
    migrate(given)
    environment = {
        "PATH": "/usr/bin:/bin",
        "DATABASE_URL": given,
        "REDIS_URL": redis_url,
        "JWT_SECRET": "s" * 32,
        "PORT": "0",
        "BIND": "127.0.0.1:0",
    }
    result = subprocess.run(
        [sys.executable, "-m", *module.split()],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode != 0
    assert "Unbroken cannot start:" in result.stderr
    assert "DATABASE_URL logs in as unbroken, who owns or may become the owner of" in result.stderr


def test_the_password_that_two_logins_shared_is_parted(tmp_path: Path) -> None:
    """An earlier version kept one password file for the application's login and the superuser."""
    server = Postgres(tmp_path)
    server.start()
    shared = "the password of an earlier version"
    server.ensure_database()
    for login in (OWNER, ADMINISTRATOR):
        server.execute(f"ALTER ROLE {{}} PASSWORD '{shared}'", login)
    server.stop()
    for file in (tmp_path / "passwords").iterdir():
        file.unlink()
    (tmp_path / "password").write_text(shared)

    server = Postgres(tmp_path)
    server.start()
    try:
        server.ensure_database()
        assert not (tmp_path / "password").exists()
        assert len(set(server.passwords.values())) == len(server.passwords)
        connect(server.url(login=OWNER)).close()
        for login in (OWNER, ADMINISTRATOR):
            old = make_url(server.url(login=login)).set(password=shared)
            with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
                connect(old.render_as_string(hide_password=False))
    finally:
        server.stop()
