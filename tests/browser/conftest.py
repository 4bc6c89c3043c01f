"""A real browser against a real deployment. Without Chromium these tests say so and are skipped.

CHROMIUM names the program when it is not on the PATH. Screenshots go to out/browser/.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from dev.postgres import Postgres
from dev.valkey import Valkey
from tests.browser.scripted import ScriptedServer
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack

OUT = Path(__file__).resolve().parents[2] / "out" / "browser"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# A model with everything that a menu can say about one.
CLEVER = {
    "name": "clever",
    "provider": "openai",
    "upstream_name": "fake",
    "label": "Clever",
    "description": "Takes its time, and uses tools",
    "price": {"input": "3", "output": "15", "currency": "USD"},
}
# Tokens; at 20 a second no machine is so slow that it sees the end before it is told that it is enough.
ENDLESS = 20_000
SIZES = {"phone": (360, 740), "tablet": (768, 1024), "desk": (1280, 800)}

# What is waited for comes within a second; a machine that does other things, too, is given its time.
PATIENCE = 60.0  # seconds

expect.set_options(timeout=PATIENCE * 1000)


def _program() -> str | None:
    named = os.environ.get("CHROMIUM")
    return named or next((found for name in PROGRAMS if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests; each visitor gets a profile of its own."""
    program = _program()
    if program is None:
        pytest.skip(f"no Chromium here: none of {', '.join(PROGRAMS)} is on the PATH, and CHROMIUM names none")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*QUIET], timeout=180_000)
        yield browser
        browser.close()


class Site:
    """The deployment, and its API as the tests use it to look behind the page."""

    def __init__(self, stack: Stack, upstream: FakeUpstream) -> None:
        self.stack = stack
        self.upstream = upstream
        self.worker = stack.worker()
        self.web = stack.web()
        self.url = self.web.url
        self._ask("POST", "/models", "operator", CLEVER, role="admin")

    def lose_worker(self) -> None:
        """kill -9, and a new one: after the lease it takes over what the old one was doing."""
        self.worker.kill()
        self.worker = self.stack.worker()

    def return_web(self) -> None:
        """A new web server at the address of the one that was killed."""
        self.web = self.stack.web(port=urlsplit(self.url).port)

    def restart_web(self) -> None:
        """New web processes, as in a deploy: the old ones break their streams and leave."""
        self.web.signal(signal.SIGHUP)

    def behave(self, **behaviour: Any) -> None:
        """How the model ``fake`` answers from now on (tests/fakes/upstream.py)."""
        self._tell_upstream("defaults", behaviour)

    def enough(self) -> None:
        """What the model ``fake`` is saying comes to its end now, and what it says from now on is short."""
        self._tell_upstream("enough", {})

    def _tell_upstream(self, what: str, body: dict[str, Any]) -> None:
        address = self.upstream.base_url.removesuffix("/v1") + f"/fake/{what}"
        data = json.dumps(body).encode()
        request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method="PUT")
        urllib.request.urlopen(request, timeout=30).close()

    def get(self, path: str, user: str) -> Any:
        """An answer of the API as JSON, or its status when it refuses."""
        return self._ask("GET", path, user)

    def post(self, path: str, user: str, body: dict[str, Any]) -> Any:
        return self._ask("POST", path, user, body)

    def patch(self, path: str, user: str, body: dict[str, Any]) -> Any:
        return self._ask("PATCH", path, user, body)

    def delete(self, path: str, user: str) -> Any:
        return self._ask("DELETE", path, user)

    def _ask(
        self, method: str, path: str, user: str, body: dict[str, Any] | None = None, role: str | None = None
    ) -> Any:
        headers = {"Authorization": f"Bearer {self.stack.token(user, role)}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code

    def messages(self, conversation: str, user: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get(f"/conversations/{conversation}/messages", user)["items"]
        return items

    def finished(self, user: str, message: str, **fields: Any) -> dict[str, Any]:
        """Ask, and wait for the end of the answer: {conversation, message, generation}."""
        started: dict[str, Any] = self.post(
            "/generations", user, {"message": message, "model": "offline-fast", **fields}
        )
        deadline = time.monotonic() + PATIENCE
        while self.get(f"/generations/{started['generation']['id']}", user)["status"] != "completed":
            assert time.monotonic() < deadline, "the answer did not come to its end"
            time.sleep(0.05)
        return started


@pytest.fixture(scope="session")
def site(
    postgres: Postgres, valkey: Valkey, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Worker and web server on stores of their own, for all tests; every test has users of its own."""
    yield from deployed(postgres, valkey, migrated_template, tmp_path_factory.mktemp("browser"))


def deployed(postgres: Postgres, valkey: Valkey, template: str, directory: Path) -> Iterator[Site]:
    """Worker and web server with a database of their own. ``fake`` is a model that does what a test wants."""
    database = directory.name
    postgres.clone_database(template, database)
    with FakeUpstream() as upstream:
        models = {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_KEY": "browser", "DEFAULT_MODEL": "offline"}
        stack = Stack(directory, postgres.url(database), valkey.url(), **models)
        try:
            yield Site(stack, upstream)
        finally:
            stack.stop()
            postgres.drop_database(database)


class Visitor:
    """Somebody with a browser: one context, and what one does on the page."""

    def __init__(self, site: Site, context: BrowserContext, name: str) -> None:
        self.site = site
        self.context = context
        self.name = name
        self.trouble: list[str] = []
        self.page = self.tab()

    def tab(self) -> Page:
        """Another tab of the same browser."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("console", lambda message: self._hear(message.type, message.text))
        return page

    def _hear(self, kind: str, text: str) -> None:
        # A refused request is reported by the browser itself; that is the test's business.
        if kind == "error" and "Failed to load resource" not in text:
            self.trouble.append(text)

    def sign_in(self, path: str = "/", ttl: int = 3600) -> None:
        self.page.goto(self.site.url + path)
        self.enter(ttl)

    def enter(self, ttl: int = 3600) -> None:
        """Through the sign-in form that is shown."""
        self.page.get_by_label("Development token").fill(self.site.stack.token(self.name, ttl=ttl))
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.box).to_be_visible()

    def is_told(self, about: str = "Tell me about the sea") -> None:
        """Sign in to an answer that is being written, and goes on until ``site.enough()``."""
        self.site.behave(tokens=ENDLESS, rate=20)
        self.sign_in("/m/fake/new")
        self.send(about)
        self.has_grown()

    def go(self, path: str) -> None:
        self.page.goto(self.site.url + path)

    def send(self, text: str) -> None:
        self.box.fill(text)
        self.box.press("Enter")

    @property
    def box(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message", exact=True)

    @property
    def answer(self) -> Locator:
        """The newest answer."""
        return self.page.get_by_role("article", name="Answer").last

    def shown(self) -> str:
        """The words of the newest answer as far as they are drawn."""
        body = self.answer.locator(".body")
        return body.inner_text() if body.count() else ""

    def has_grown(self, characters: int = 40) -> None:
        """Wait until that much of the answer is there and it still grows."""
        self.until(lambda: len(self.shown()) > characters, "the answer grows")
        expect(self.answer).to_have_attribute("aria-busy", "true")

    def is_answered(self) -> None:
        """Wait for the end of the answer."""
        expect(self.answer).to_have_attribute("aria-busy", "false")

    def until(self, condition: Callable[[], Any], what: str, timeout: float = PATIENCE) -> None:
        """The policy of the page forbids eval, and with it Playwright's wait_for_function."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"it did not come true that {what}"
            self.page.wait_for_timeout(30)

    @property
    def path(self) -> str:
        path: str = self.page.evaluate("location.pathname")
        return path

    @property
    def conversation(self) -> str:
        return self.path.rpartition("/")[2]

    def stored(self) -> dict[str, str]:
        """Everything this browser keeps for the site."""
        kept: dict[str, str] = self.page.evaluate("({...localStorage, ...sessionStorage})")
        return kept

    def picture(self, name: str) -> None:
        OUT.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=OUT / f"{name}.png", animations="disabled")


@pytest.fixture
def visit(chromium: Browser, site: Site, request: pytest.FixtureRequest) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors, signed in unless ``signed_in=False``. None of them may meet an error in the console."""
    yield from visiting(chromium, site, request)


def visiting(chromium: Browser, site: Site, request: pytest.FixtureRequest) -> Iterator[Callable[..., Visitor]]:
    """The same for a deployment of another fixture."""
    visitors: list[Visitor] = []

    def make(name: str = "alice", *, size: str = "desk", signed_in: bool = True, **options: Any) -> Visitor:
        width, height = SIZES[size]
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PATIENCE * 1000)
        # Names are the test's own, so that tests do not meet in one account.
        visitor = Visitor(site, context, f"{name}-{request.node.name}"[:100])
        visitors.append(visitor)
        if signed_in:
            visitor.sign_in()
        return visitor

    yield make
    for visitor in visitors:
        visitor.context.close()
    site.enough()
    assert [trouble for visitor in visitors for trouble in visitor.trouble] == []


@pytest.fixture(scope="session")
def scripted() -> Iterator[ScriptedServer]:
    """A server that answers byte for byte what a test tells it to, and serves the page's modules."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def module_page(chromium: Browser, scripted: ScriptedServer) -> Iterator[Page]:
    """An empty page next to the modules."""
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.goto(scripted.url + "/blank")
    yield page
    context.close()
