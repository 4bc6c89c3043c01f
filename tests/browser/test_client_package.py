"""The package unbroken-stream on a page of another origin: two tabs follow an answer over one connection."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from dev.client_packages import collect
from tests.browser.conftest import PATIENCE, Site
from tests.stack import Web
from tests.stack import until as until_true

USER = "foreign"
PAGE = """<!doctype html><meta charset="utf-8"><title>Another page</title><link rel="icon" href="data:,">
<script type="importmap">
{"imports": {"unbroken-stream": "/package/stream.js", "unbroken-stream/tabs": "/package/tabs.js"}}
</script>"""
CONNECT = """async ([service, token, feedSeq]) => {
  const { SharedConnection, startAnswer } = await import('unbroken-stream/tabs');
  window.states = [];
  window.changes = [];
  window.connection = new SharedConnection({
    url: `${service}/api/v1`, token: () => token, name: 'tabs.foreign',
    onEvent: ({ type }) => changes.push(type), onMissed: () => changes.push('missed'),
    onState: ({ name }) => states.push(name),
  });
  window.watch = (reader) => {
    window.ids = [];
    window.reader = reader;
    reader.finished.then((end) => { window.end = { reason: end.reason, text: end.transcript.text }; });
  };
  const onEvent = (event) => event.id && ids.push(event.id);
  window.followAnswer = (id) => watch(connection.follow(id, { onEvent }));
  window.send = (body) => new Promise((resolve) => {
    const opened = (event) => event.type === 'open' && resolve(event.generation_id);
    watch(startAnswer(connection, { body, onEvent: (event) => { opened(event); onEvent(event); } }));
  });
  connection.begin(feedSeq);
}"""


class Quiet(SimpleHTTPRequestHandler):
    """Files of a folder, without a log."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin of a server that has the package and an empty page."""
    folder: Path = tmp_path_factory.mktemp("foreign")
    collect(folder / "package")
    (folder / "index.html").write_text(PAGE)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def web(site: Site, origin: str) -> Iterator[Web]:
    web = site.stack.web(CORS_ORIGINS=origin)
    yield web
    web.kill()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    yield context
    context.close()


class Tabs:
    """Tabs of one browser that take part in the connection. The last of ``readers`` is the one that reads."""

    def __init__(self, context: BrowserContext, origin: str, web: Web, site: Site) -> None:
        self._context = context
        self._address = f"{origin}/index.html"
        self._web = web
        self._site = site
        self.readers: list[Page] = []

    def open(self) -> Page:
        page = self._context.new_page()
        page.on("request", lambda request: "/api/v1/feed" in request.url and self.readers.append(page))
        page.goto(self._address)
        feed_seq = self._site.get("/conversations", USER)["feed_seq"]
        page.evaluate(CONNECT, [self._web.url, self._site.stack.token(USER), feed_seq])
        until(page, "connection.live")
        return page


def until(page: Page, condition: str) -> None:
    """Wait until an expression is true in the page."""
    page.wait_for_function(condition, timeout=PATIENCE * 1000)


def test_two_tabs_of_a_foreign_page_share_one_connection(
    context: BrowserContext, origin: str, web: Web, site: Site
) -> None:
    tabs = Tabs(context, origin, web, site)
    first, second = tabs.open(), tabs.open()
    site.behave(tokens=20_000, rate=20)
    generation = first.evaluate("send({ message: 'Hello', model: 'fake' })")
    second.evaluate("(id) => followAnswer(id)", generation)
    for page in (first, second):
        until(page, "ids.length > 10")
    until_true(lambda: site.streams(USER) == 1, what="one stream")
    # The second tab takes over from a first one that a busy machine kept from its answer to a question.
    reader = tabs.readers[-1]
    other = second if reader is first else first
    # The tab that reads is closed in the middle of the answer.
    with other.expect_request(lambda request: "/api/v1/feed" in request.url):
        reader.close()
    until(other, f"ids.length > {other.evaluate('ids.length') + 20} && connection.live")
    until_true(lambda: site.streams(USER) == 1, what="one stream")
    site.enough()
    until(other, "window.end")
    assert other.evaluate("end") == {"reason": "done", "text": site.stack.transcript(generation).text}
    assert other.evaluate("ids") == [str(entry.cursor) for entry in site.stack.read(generation)]
    assert "missed" not in other.evaluate("changes")
    other.evaluate("connection.close()")
