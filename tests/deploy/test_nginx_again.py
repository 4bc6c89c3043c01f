"""A read whose processes went away is tried once more, with the addresses of that moment.

nginx that resolves names again gives a request up when the addresses change under it. Debian's nginx does not resolve
again: here the request is given up after three processes that are gone.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.proxy import Proxy, binary, free_port
from tests.deploy.test_nginx import call
from tests.deploy.upstream import Upstream

pytestmark = pytest.mark.skipif(binary() is None, reason="nginx is not installed (apt-get install nginx-light)")
# `proxy_next_upstream_tries`; a process that was found to be gone is left out for two seconds.
TRIES = 3
READS = [
    "/api/v1/conversations",
    "/api/v1/generations/0199-a/stream",
    "/api/v1/feed",
    "/api/chat/some-id/stream",
    "/v1/models",
    "/v1/responses/resp_1?stream=true",
]
CHANGES = ["/api/v1/conversations", "/api/chat", "/v1/conversations", "/v1/responses"]


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    upstream = Upstream("left")
    gone = [f"127.0.0.1:{free_port()}" for _ in range(TRIES)]
    groups = [*gone, upstream.address]
    proxy = Proxy({"web": groups, "streams": groups})
    yield proxy
    proxy.stop()
    upstream.stop()


@pytest.mark.parametrize("path", READS)
def test_a_read_meets_the_process_that_is_there(proxy: Proxy, path: str) -> None:
    assert call(proxy, path).status == 200


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_what_changes_something_is_given_up(proxy: Proxy, method: str, path: str) -> None:
    """The proxy cannot know whether a process had begun with it: the client repeats it, with its idempotency key."""
    response = call(proxy, path, method=method, body=b"{}")
    assert response.status == 502
    assert response.headers["Retry-After"] == "2"
    kind = "application/json" if path.startswith("/v1/") else "application/problem+json"
    assert response.headers["Content-Type"] == kind
