"""A stream whose process is silent for too long is broken by the proxy; an answer that is held back is waited for."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest

from tests.deploy.proxy import Proxy, binary
from tests.deploy.test_nginx import call
from tests.deploy.upstream import Upstream

pytestmark = pytest.mark.skipif(binary() is None, reason="nginx is not installed (apt-get install nginx-light)")


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    upstream = Upstream("streams")
    groups = {"web": [upstream.address], "streams": [upstream.address]}
    proxy = Proxy(groups, changes={"proxy_read_timeout 75s;": "proxy_read_timeout 1s;"})
    yield proxy
    proxy.stop()
    upstream.stop()


@pytest.mark.parametrize("path", ["/api/v1/generations/0199-a/stream", "/api/v1/feed", "/api/chat"])
def test_a_silent_stream_is_broken_so_that_its_client_comes_back(proxy: Proxy, path: str) -> None:
    """No last chunk is sent: the body does not end as if it were complete."""
    with pytest.raises(http.client.IncompleteRead):
        call(proxy, path, X_Behave="silence").read()


def test_an_answer_that_is_held_back_is_waited_for(proxy: Proxy) -> None:
    response = call(proxy, "/v1/chat/completions", X_Behave="silence")
    assert response.status == 200
    assert proxy.accesses(1, patience=3) == [], "the request goes on after three times the wait of a stream"
