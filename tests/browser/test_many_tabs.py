"""Tabs with an answer each share one connection: more than six on plain http at a network address, three over TLS."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Error, Page, Request, expect

from dev.server import free_port
from tests.browser.conftest import ELSEWHERE, ENDLESS, PATIENCE, Site, Visitor
from tests.fakes.front import Front

# A browser opens six connections to a host.
TABS = {"http": int(os.environ.get("TABS", "7")), "https": 3}
NUMBERED = re.compile(r"k\d+\.(\d+)")  # the tokens of the model ``fake``


@pytest.fixture(scope="module", params=["http", "https"])
def address(request: pytest.FixtureRequest, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a web server: on plain http under a name that is not this machine's, or over TLS."""
    if request.param == "http":
        web = site.stack.web(SIGN_IN_OVER_HTTP="1")
        yield web.url.replace("127.0.0.1", ELSEWHERE)
        web.kill()
        return
    port = free_port()
    with Front.encrypted(port, tmp_path_factory.mktemp("tls")) as front:
        url = f"https://127.0.0.1:{front.port}"
        web = site.stack.web(port=port, PUBLIC_URL=url)
        yield url
        web.kill()


class Tabs:
    """The tabs of one browser, and which of them has connected last."""

    def __init__(self, visitor: Visitor, address: str) -> None:
        self.visitor = visitor
        self.site = visitor.site
        self.address = address
        self.open: list[Page] = []
        self.readers: list[Page] = []

    def sign_in(self) -> None:
        self.visitor.page.goto(self.address + self.site.sign_in_path(self.visitor.name))
        self.visitor.page.get_by_role("button", name="Sign in").click()
        expect(self.visitor.box).to_be_visible()
        self.visitor.page.close()

    def show(self, conversation: str) -> None:
        page = self.visitor.tab()
        page.on("request", lambda request: self._note(page, request))
        page.goto(f"{self.address}/c/{conversation}")
        self.open.append(page)

    def _note(self, page: Page, request: Request) -> None:
        if "/api/v1/feed" in request.url:
            self.readers.append(page)

    @property
    def leader(self) -> Page:
        return self.readers[-1]

    def streams(self) -> int:
        """The user's open streams at the server."""
        return self.site.streams(self.visitor.name)

    def until(self, condition: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"it did not come true that {what}"
            self.open[0].wait_for_timeout(50)

    def grow(self) -> None:
        """Wait until each tab shows more of its answer."""
        before = {page: len(shown(page)) for page in self.open}
        for page in self.open:
            self.until(lambda page=page: len(shown(page)) > before[page] + 60, "each answer grows")  # type: ignore[misc]

    def lose(self, page: Page) -> None:
        self.open.remove(page)
        self.readers = [reader for reader in self.readers if reader is not page]


def shown(page: Page) -> str:
    body = page.get_by_role("article", name="Answer").last.locator(".body")
    return body.inner_text() if body.count() else ""


def crash(page: Page) -> None:
    """Kill the process of a tab."""
    with page.expect_event("crash"), suppress(Error):
        page.goto("chrome://crash")


@pytest.fixture
def tabs(visit: Callable[..., Visitor], site: Site, address: str) -> Tabs:
    alice = visit(signed_in=False, ignore_https_errors=True)
    site.behave(tokens=ENDLESS, rate=5)
    tabs = Tabs(alice, address)
    tabs.sign_in()
    for number in range(TABS[urlsplit(address).scheme]):
        begun = site.post("/generations", alice.name, {"message": f"Tale {number}", "model": "fake"})
        tabs.show(begun["conversation"]["id"])
    return tabs


def test_each_tab_streams_whatever_becomes_of_the_one_that_reads_and_stop_works_in_each(tabs: Tabs, site: Site) -> None:
    tabs.grow()
    assert tabs.open[0].evaluate("isSecureContext") is tabs.address.startswith("https")
    tabs.until(lambda: tabs.streams() == 1, "one connection is left at the server")

    leader = tabs.leader
    tabs.lose(leader)
    leader.close()
    tabs.until(lambda: tabs.readers and tabs.leader in tabs.open, "another tab reads")
    tabs.grow()

    crashed = tabs.leader
    tabs.lose(crashed)
    crash(crashed)
    tabs.until(lambda: tabs.readers and tabs.leader in tabs.open, "a tab notices the crash and reads")
    tabs.grow()
    tabs.until(lambda: tabs.streams() == 1, "one connection is left at the server")

    for page in tabs.open:
        page.get_by_role("button", name="Stop the answer").click()
    for page in tabs.open:
        expect(page.get_by_role("article").get_by_text("Stopped. The text so far is kept.")).to_be_visible()
    for page in tabs.open:
        conversation = page.url.rpartition("/")[2]
        kept = NUMBERED.findall(site.messages(conversation, tabs.visitor.name)[-1]["content"])
        assert kept == [str(n) for n in range(len(kept))]
        tabs.until(lambda page=page, kept=kept: NUMBERED.findall(shown(page)) == kept, "the tab shows all of it")  # type: ignore[misc]
