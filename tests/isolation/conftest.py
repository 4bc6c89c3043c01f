"""The application in front of real stores, twice: with connections of its own, and through a pooler.

Every test of this folder that takes ``app`` runs both ways.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask_openapi3.openapi import OpenAPI

from app.api.application import create_app
from app.api.web_process import EXTENSION
from app.config import Settings
from dev.postgres import Postgres
from dev.valkey import Valkey
from tests.fakes.pgbouncer import PgBouncer, binary

# Fixtures are found by their names in this module.
from tests.integration.api.conftest import alice, bob, make_settings, of_web, resources

__all__ = ["alice", "bob", "resources"]

WAYS = ("directly", "through PgBouncer")


@pytest.fixture(scope="module", params=WAYS)
def address(
    request: pytest.FixtureRequest,
    postgres: Postgres,
    module_database_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The database's address with the workers' login: direct, or through a pooler that drops startup parameters."""
    if request.param == "directly":
        yield module_database_url
        return
    if binary() is None:
        pytest.skip("pgbouncer is not installed: isolation behind a pooler in transaction mode is not tested")
    with PgBouncer(tmp_path_factory.mktemp("pgbouncer"), postgres) as pooler:
        yield pooler.url(module_database_url)


@pytest.fixture(scope="module")
def settings(address: str, valkey: Valkey) -> Settings:
    # The pooler has more connections than the test process opens: no transaction waits for one in vain.
    return make_settings(address, valkey.url(), database_pool=5)


@pytest.fixture(scope="module")
def app(settings: Settings) -> Iterator[OpenAPI]:
    """The application with the login of the web processes."""
    app = create_app(of_web(settings))
    yield app
    app.extensions[EXTENSION].close()
