"""Chromium's own EventSource with a ticket, against a real deployment."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from app.domain.commands import StartGeneration
from tests.browser.conftest import PATIENCE, Site
from tests.fakes.proxy import TcpProxy
from tests.stack import until

USER = "native"

FOLLOW = """([path]) => {
  const told = window.told = { tokens: "", ids: [], closed: 0, retries: 0, done: false };
  const source = new EventSource(path);
  source.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (["open", "queued", "title"].includes(event.type)) return;
    told.ids.push(message.lastEventId);
    if (event.type === "token") told.tokens += event.content;
    if (event.type === "done") told.done = true;
  };
  source.onerror = () => source.readyState === EventSource.CLOSED ? told.closed++ : told.retries++;
}"""


@pytest.fixture
def page(chromium: Browser) -> Any:
    page = chromium.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    yield page
    page.close()


def told(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate("window.told")
    return found


def test_it_survives_a_cut_and_stops_asking_at_the_end(page: Page, site: Site) -> None:
    person = site.stack.resources.users.user(USER, None)
    started = site.stack.resources.starter.start(person, StartGeneration("The sea", model="offline"))
    generation = started.generation.id
    ticket = site.stack.resources.tickets.for_generation(person, generation, 2**31)
    path = f"/api/v1/generations/{generation}/stream?ticket={ticket.text}"
    asked: list[str] = []
    with TcpProxy.before(site.url) as proxy:
        page.on("request", lambda request: asked.append(request.url) if "ticket=" in request.url else None)
        page.goto(proxy.url(site.url) + "/healthz")
        page.evaluate(FOLLOW, [path])
        until(lambda: len(told(page)["ids"]) > 30, 60, step=0.05)
        proxy.cut()
        until(lambda: told(page)["closed"], 60, step=0.1)
        requests = len(asked)
        page.wait_for_timeout(4000)
    seen = told(page)
    assert len(asked) == requests, "it still asks"
    assert (seen["done"], seen["closed"]) == (True, 1)
    assert seen["retries"] >= 1
    assert seen["tokens"] == site.stack.transcript(generation).text
    assert seen["ids"] == [str(entry.cursor) for entry in site.stack.read(generation)]


def test_a_ticket_that_does_not_fit_ends_it_at_once(page: Page, site: Site) -> None:
    page.goto(site.url + "/healthz")
    page.evaluate(FOLLOW, [f"/api/v1/generations/{'0' * 8}-0000-7000-8000-{'0' * 12}/stream?ticket=nothing"])
    until(lambda: told(page)["closed"], 60, step=0.05)
    page.wait_for_timeout(1500)
    assert told(page)["retries"] == 0
