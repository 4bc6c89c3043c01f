"""npm's eventsource, unmodified, with tickets against a real instance. node/eventsource.mjs has the scenarios."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.clients.conftest import Site
from tests.clients.node import HERE, installed, node
from tests.fakes.proxy import TcpProxy

pytestmark = pytest.mark.slow

SCRIPT = HERE / "eventsource.mjs"
SECONDS = 300


def run(site: Site, scenario: str, at: Callable[[], None] = lambda: None, **variables: str) -> Any:
    """The result that a scenario prints. ``at`` is called when the scenario prints its mark."""
    installed()
    process = node(SCRIPT, scenario, **{"URL_": site.web.url, "TOKEN": site.key(), **variables})
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.strip().isdigit():
                at()
        _, errors = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    return json.loads(lines[-1])


def test_a_stream_is_followed_to_its_end_and_not_asked_for_again(site: Site) -> None:
    assert run(site, "follow") == {"text": True, "gapless": True, "statuses": [200, 204], "lastId": True, "more": 0}


def test_a_dropped_connection_goes_on_behind_the_last_event(site: Site) -> None:
    with TcpProxy.before(site.web.url) as proxy:
        seen = run(site, "drop", proxy.cut, URL_=proxy.url(site.web.url), DIRECT=site.web.url)
    assert seen == {"text": True, "gapless": True, "statuses": [200, 200, 204], "resumed": True, "more": 0}


def test_the_same_ticket_opens_the_same_answer_as_a_response(site: Site) -> None:
    assert run(site, "response") == {"text": True, "statuses": [200, 204], "more": 0}


def test_without_the_right_ticket_it_is_refused_once_and_for_all(site: Site) -> None:
    assert run(site, "refused") == {name: [0, [401], 1] for name in ("none", "other", "wrong")}
