"""Servers are killed and the network fails while an answer is read: the page shows it, and no text is lost.

This module has its own deployment. The loss of a worker is tested in test_page.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect

from dev.postgres import Postgres
from dev.valkey import Valkey
from tests.browser.conftest import ENDLESS, Site, Visitor, deployed, visiting
from tests.fakes.proxy import TcpProxy

Visit = Callable[..., Visitor]
AWAY = 3.0  # seconds
NUMBERED = re.compile(r"k\d+\.(\d+)")


@pytest.fixture(scope="module")
def redis_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("fragile-valkey"))
    server.start(timeout=120)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def fragile(
    postgres: Postgres,
    redis_of_its_own: Valkey,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """A deployment of this module alone."""
    yield from deployed(postgres, redis_of_its_own, migrated_template, tmp_path_factory.mktemp("fragile"))


@pytest.fixture
def line(fragile: Site) -> Iterator[TcpProxy]:
    """The network between the browser and the web server."""
    with TcpProxy.before(fragile.url) as line:
        yield line


@pytest.fixture
def watching(chromium: Browser, fragile: Site, line: TcpProxy, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """A user who reads an answer that is being written."""
    fragile.behave(tokens=ENDLESS, rate=25)
    for visit in visiting(chromium, fragile, request):
        alice = visit(signed_in=False)
        alice.page.goto(line.url(f"{fragile.url}/m/fake/new"))
        alice.enter()
        alice.send("Tell me about the sea")
        alice.has_grown()
        yield alice


def ends_well(alice: Visitor) -> None:
    """The answer continues to its end. The text on the page is the stored text, and no token is missing."""
    alice.has_grown(len(alice.shown()) + 100)
    alice.site.enough()
    alice.is_answered()
    answer = alice.site.messages(alice.conversation, alice.name)[-1]
    assert answer["status"] == "completed"
    kept = NUMBERED.findall(answer["content"])
    assert kept == [str(n) for n in range(len(kept))]
    alice.until(lambda: NUMBERED.findall(alice.shown()) == kept, "all of the answer is drawn")
    expect(alice.page.locator(".connection")).to_be_hidden()


def test_a_killed_web_server(watching: Visitor, fragile: Site) -> None:
    fragile.web.kill()
    expect(watching.page.get_by_text(re.compile(r"Reconnecting in \d+ s"))).to_be_visible()
    watching.picture("reconnecting")
    time.sleep(AWAY)
    fragile.return_web()
    ends_well(watching)


def test_a_killed_redis(watching: Visitor, redis_of_its_own: Valkey) -> None:
    redis_of_its_own.kill()
    time.sleep(AWAY)
    redis_of_its_own.start(timeout=120)
    ends_well(watching)


def test_ten_seconds_without_a_network(watching: Visitor, line: TcpProxy) -> None:
    # The browser's own switch leaves open connections alone, so the line is cut, too.
    watching.context.set_offline(True)
    line.refuse()
    expect(watching.page.get_by_text(re.compile(r"Offline, trying again in \d+ s"))).to_be_visible()
    before = watching.shown()
    watching.picture("offline")
    watching.page.wait_for_timeout(10_000)
    assert watching.shown().startswith(before)
    line.pass_()
    watching.context.set_offline(False)
    ends_well(watching)
