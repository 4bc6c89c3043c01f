"""A database of an earlier version, whose one login owned everything and served, is moved by the ordinary migration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest

from app.store.database import Database, fetch
from app.store.isolation import breaches
from app.store.logins import connect
from dev.postgres import OWNER, WEB, WORKER, Postgres
from tests.factories import add_generation, add_user, owner
from tests.logins import as_login, migrate

# The last revision that one login migrated and served.
EARLIER = "0013"


@pytest.fixture
def earlier(postgres: Postgres) -> Iterator[str]:
    """The address of a database of that version with answers of two users; its login inherits the roles it sets."""
    name = f"earlier_{uuid4().hex[:8]}"
    postgres.ensure_database(name)
    url = postgres.url(name, OWNER)
    migrate(url, "upgrade", EARLIER)
    with closing(connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("GRANT unbroken_app, unbroken_system TO CURRENT_USER WITH INHERIT TRUE")
    with owner(url) as cursor:
        for name_ in ("alice", "bob"):
            add_generation(cursor, add_user(cursor, name_), "completed", epoch=1)
    yield url
    postgres.drop_database(name)


def test_the_rows_stay_and_only_their_users_see_them(earlier: str) -> None:
    migrate(earlier)

    database = Database(as_login(earlier, WEB), 1)
    with database.without_user() as tx:
        assert breaches(tx) == []
        sql = "SELECT account_of(CAST(:name AS text), gen_random_uuid()) AS id"
        alice, bob = (fetch(tx, sql, name=name)[0].id for name in ("alice", "bob"))
    for user in (alice, bob):
        with database.user(user) as tx:
            assert [row.user_id for row in fetch(tx, "SELECT user_id FROM generations")] == [user]
    database.close()
    worker = Database(as_login(earlier, WORKER), 1)
    with worker.system() as tx:
        assert {row.user_id for row in fetch(tx, "SELECT user_id FROM generations")} == {alice, bob}
    worker.close()
    with closing(connect(as_login(earlier, OWNER))) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM generations")
        assert cursor.fetchone() == (0,), "the owner inherits nothing any more"
    migrate(earlier)
