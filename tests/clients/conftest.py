"""A real instance: web processes, a worker, and an upstream that does as it is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from app.services.catalogue import FRESH_SECONDS
from dev.valkey import Valkey
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, Web, Worker


@dataclass
class Site:
    """What a client needs to know, and what a test does behind its back."""

    stack: Stack
    web: Web
    upstream: FakeUpstream
    worker: Worker

    def kill_worker(self) -> None:
        """kill -9 to the only worker, and a new one in its place."""
        self.worker.kill()
        self.worker = self.stack.worker()

    def add_model(self, name: str, upstream_name: str, on_interruption: str) -> None:
        """A model of the upstream with a policy of its own, once every process knows it."""
        with self.stack.resources.database.system() as tx:
            tx.execute(
                text(
                    """INSERT INTO models (name, provider, upstream_name, on_interruption)
                       VALUES (:name, 'openai', :upstream_name, ARRAY[:policy]) ON CONFLICT DO NOTHING"""
                ),
                {"name": name, "upstream_name": upstream_name, "policy": on_interruption},
            )
        # Until then its name is passed to the upstream like any other; a look at the table may have been under way.
        time.sleep(FRESH_SECONDS + 1)

    @property
    def base_url(self) -> str:
        return f"{self.web.url}/v1"

    def key(self, user: str = "alice") -> str:
        return self.stack.token(user)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey) -> Iterator[Site]:
    """An instance for all tests of a module, with one worker."""
    with FakeUpstream() as upstream:
        directory: Path = tmp_path_factory.mktemp("site")
        limits = {"MAX_STREAMS_PER_USER": 50, "TOKEN_TIMEOUT": 20}
        stack = Stack(
            directory,
            module_database_url,
            valkey.url(),
            OPENAI_BASE_URL=upstream.base_url,
            DEFAULT_MODEL="offline",
            **limits,
        )
        try:
            worker = stack.worker()
            yield Site(stack, stack.web(), upstream, worker)
        finally:
            stack.stop()
