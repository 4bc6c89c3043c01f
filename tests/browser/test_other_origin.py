"""A page of another origin in a real browser: fetch with a token, and EventSource."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import PATIENCE, Site
from tests.stack import Web

# Starts an answer, follows it with the header that makes browsers ask first, and again with a ticket.
ELSEWHERE = """async ([url, token]) => {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const post = (path, body) => fetch(url + path, { method: "POST", headers, body: JSON.stringify(body) });
  const said = { message: "The sea", model: "offline-fast" };
  const started = await (await post("/api/v1/generations", said)).json();
  const path = `/api/v1/generations/${started.generation.id}/stream`;
  const whole = await (await fetch(url + path, { headers })).text();
  const answer = await fetch(url + path, { headers: { ...headers, "last-event-id": "1-0" } });
  const rest = await answer.text();
  const ticket = await (await post("/api/v1/stream-tickets", { generation_id: started.generation.id })).json();
  const heard = await new Promise((resolve) => {
    const source = new EventSource(`${url}${path}?ticket=${ticket.ticket}`);
    let text = "";
    source.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.type === "token") text += event.content;
      if (event.type === "done") { source.close(); resolve(text); }
    };
  });
  return { id: started.generation.id, request: answer.headers.get("x-request-id"), whole, rest, heard };
}"""

REFUSED = """([url, token]) => fetch(url + "/v1/models", { headers: { authorization: `Bearer ${token}` } })
  .then(() => "read", (error) => error.name)"""


@pytest.fixture(scope="module")
def open_web(site: Site) -> Iterator[Web]:
    """A web server that allows the origin of the ordinary server, which has another port."""
    web = site.stack.web(CORS_ORIGINS=site.url)
    yield web
    web.kill()


@pytest.fixture
def page(chromium: Browser, site: Site) -> Iterator[Page]:
    page = chromium.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(site.url + "/healthz")
    yield page
    page.close()


def test_a_page_of_a_named_origin_starts_follows_and_resumes(page: Page, site: Site, open_web: Web) -> None:
    seen: dict[str, Any] = page.evaluate(ELSEWHERE, [open_web.url, site.stack.token("elsewhere")])
    text = site.stack.transcript(seen["id"]).text
    assert text, "the answer says something"
    assert seen["heard"] == text
    assert seen["request"], "its id can be read"
    ids = [f"\nid: {entry.cursor}\n" for entry in site.stack.read(seen["id"])]
    assert [id for id in ids if seen["whole"].count(id) == 1] == ids
    assert [id for id in ids if seen["rest"].count(id) == 1] == ids[1:], "everything past 1-0"


def test_a_page_of_any_other_origin_reads_nothing(page: Page, site: Site, open_web: Web) -> None:
    token = site.stack.token("elsewhere")
    # The same page by another name is another origin.
    page.goto(site.url.replace("127.0.0.1", "localhost") + "/healthz")
    assert page.evaluate(REFUSED, [open_web.url, token]) == "TypeError"
    assert page.evaluate(REFUSED, [page.url.removesuffix("/healthz"), token]) == "read", "its own it may read"
