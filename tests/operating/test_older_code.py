"""Code that is older than the schema of its database: it runs where the schema allows it, and else names the reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import requests

from app.ops.health import is_migrated
from dev.postgres import OWNER, WEB, WORKER
from tests.factories import owner
from tests.logins import ROOT, as_login
from tests.operating.test_migrations import revisions
from tests.stack import Stack

NEWER = "9999"


@pytest.fixture
def newer_url(database_url: str) -> str:
    """A database that a newer release has migrated: it has a table, columns and a trigger unknown to this code."""
    with owner(database_url) as cursor:
        cursor.execute(f"""
            CREATE TABLE novelties (id uuid PRIMARY KEY, size integer);
            ALTER TABLE messages ADD COLUMN novelty text, ADD COLUMN counted integer NOT NULL DEFAULT 0;
            ALTER TABLE generations ADD COLUMN novelty text;
            UPDATE alembic_version SET version_num = '{NEWER}';
        """)
    return database_url


def require(url: str, revision: str) -> None:
    with owner(url) as cursor:
        cursor.execute("UPDATE schema_info SET minimum_code_revision = %s", (revision,))


def upgrade(url: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "app.ops.migrate"]
    logins = {"MIGRATION_DATABASE_URL": OWNER, "DATABASE_URL": WEB, "WORKER_DATABASE_URL": WORKER}
    environment = {**os.environ, **{name: as_login(url, login) for name, login in logins.items()}}
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def sentence(output: str) -> str:
    """The event of the one line that the process wrote. The line is JSON like every line of a log."""
    found: str = json.loads(output)["event"]
    return found


def test_the_step_of_migrations_lets_older_code_start_where_the_schema_allows_it(newer_url: str) -> None:
    done = upgrade(newer_url)
    assert done.returncode == 0, done.stderr
    assert (
        sentence(done.stdout) == f"The database is at revision {NEWER} of a newer release; this release may run on it."
    )


def test_the_step_of_migrations_says_in_one_sentence_which_release_is_needed(newer_url: str) -> None:
    require(newer_url, NEWER)
    done = upgrade(newer_url)
    assert done.returncode == 1
    assert sentence(done.stderr) == (
        f"The database is at revision {NEWER}, and code that runs on it must know revision {NEWER};"
        f" this release knows {revisions()[-1]} at most."
        " Start the newer release, or downgrade the database with it (docs/operate/roll-back.md)."
    )


def test_older_code_answers_on_a_newer_schema(newer_url: str, stack: Stack) -> None:
    stack.worker()
    url = stack.web().url
    assert requests.get(f"{url}/readyz", timeout=10).json()["checks"]["database"] == "ok"
    reply = requests.post(
        f"{url}/api/v1/generations",
        json={"message": "Hello", "model": "offline-fast", "stream": True},
        headers={"Authorization": f"Bearer {stack.token('alice')}"},
        timeout=60,
    )
    assert '"status":"completed"' in reply.text.splitlines()[-3]


def test_older_code_is_not_ready_where_the_schema_forbids_it() -> None:
    oldest, *_, newest = revisions()
    assert is_migrated(newest, newest)
    assert is_migrated(NEWER, newest)
    assert not is_migrated(NEWER, NEWER)
    assert not is_migrated(NEWER, None)
    assert not is_migrated(oldest, None)
    assert not is_migrated(None, None)


def test_the_schema_asks_for_no_more_than_its_own_release(database_url: str) -> None:
    with owner(database_url) as cursor:
        cursor.execute("SELECT minimum_code_revision FROM schema_info")
        assert cursor.fetchone()[0] in revisions()
