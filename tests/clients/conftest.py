"""A real instance: web processes, a worker, and an upstream that a test controls."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from dev.valkey import Valkey
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, Web, Worker

# A key of signed requests, for every user.
KEY_ID, KEY = "example", b64encode(b"signed" * 8).decode()


@dataclass
class Site:
    """The address and the tokens for clients, and the faults that a test causes."""

    stack: Stack
    web: Web
    upstream: FakeUpstream
    worker: Worker

    def kill_worker(self) -> None:
        """Kill the only worker with SIGKILL, and start a new one."""
        self.worker.kill()
        self.worker = self.stack.worker()

    def add_model(self, name: str, upstream_name: str, on_interruption: str) -> None:
        """Add a model of the upstream with this policy after an interruption."""
        with self.stack.resources.database.system() as tx:
            tx.execute(
                text(
                    """INSERT INTO models (name, provider, upstream_name, on_interruption)
                       VALUES (:name, 'openai', :upstream_name, ARRAY[:policy]) ON CONFLICT DO NOTHING"""
                ),
                {"name": name, "upstream_name": upstream_name, "policy": on_interruption},
            )

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
        receivers = {
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8", "WEBHOOK_ALLOW_HTTP": 1, "WEBHOOK_PORTS": "1024-65535",
        }  # fmt: skip
        stack = Stack(
            directory,
            module_database_url,
            valkey.url(),
            OPENAI_BASE_URL=upstream.base_url,
            DEFAULT_MODEL="offline",
            HMAC_KEYS=f"{KEY_ID}:{KEY}",
            **limits,
            **receivers,
        )
        try:
            worker = stack.worker()
            yield Site(stack, stack.web(), upstream, worker)
        finally:
            stack.stop()
