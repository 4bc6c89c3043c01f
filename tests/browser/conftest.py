"""A real browser against a real deployment. Without Chromium these tests are skipped with the reason.

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
import redis
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from app.services.sign_in_links import PATH
from dev.postgres import Postgres
from dev.valkey import Valkey
from tests.browser.scripted import REPORT, ScriptedServer
from tests.factories import owner
from tests.fakes.upstream import FakeUpstream
from tests.sign_in import make_code
from tests.stack import Stack

OUT = Path(__file__).resolve().parents[2] / "out" / "browser"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# A name that the browser takes for this machine, and not for a loopback address: a page there is no secure context.
ELSEWHERE = "chat.elsewhere.example"
QUIET = (
    f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1",
    "--no-sandbox",
    "--disable-gpu",
    # Tabs behind another one are as fast as that one.
    "--disable-renderer-backgrounding",
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
REPORTS = ("Failed to load resource", "Cross-Origin-Opener-Policy header has been ignored")
# Tokens; at 20 a second no machine is so slow that it sees the end before it is told that it is enough.
ENDLESS = 20_000
SIZES = {"phone": (360, 740), "tablet": (768, 1024), "desk": (1280, 800)}

# Each wait ends within a second on a free machine; a busy one gets more time.
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
    """The deployment, and its API, with which tests check the data behind the page."""

    def __init__(self, stack: Stack, upstream: FakeUpstream) -> None:
        self.stack = stack
        self.upstream = upstream
        self.worker = stack.worker()
        self.web = stack.web()
        self.url = self.web.url
        self._ask("POST", "/models", "operator", CLEVER, role="admin")

    def lose_worker(self) -> None:
        """Kill the worker with SIGKILL and start a new one, which takes over its answers when the lease ends."""
        self.worker.kill()
        self.worker = self.stack.worker()

    def return_web(self) -> None:
        """Start a web server at the address of the killed one."""
        self.web = self.stack.web(port=urlsplit(self.url).port)

    def restart_web(self) -> None:
        """Replace the web processes, as in a deploy: the old ones break their streams and exit."""
        self.web.signal(signal.SIGHUP)

    def behave(self, **behaviour: Any) -> None:
        """Set the behaviour of the model ``fake`` from now on (tests/fakes/upstream.py)."""
        self._tell_upstream("defaults", behaviour)

    def enough(self) -> None:
        """End the running answers of the model ``fake``; its next answers are short."""
        self._tell_upstream("enough", {})

    def go_on(self) -> None:
        """End the stall of the running answers of the model ``fake``."""
        self._tell_upstream("go_on", {})

    def _tell_upstream(self, what: str, body: dict[str, Any]) -> None:
        address = self.upstream.base_url.removesuffix("/v1") + f"/fake/{what}"
        data = json.dumps(body).encode()
        request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method="PUT")
        urllib.request.urlopen(request, timeout=30).close()

    def sign_in_path(self, user: str, role: str | None = None) -> str:
        """The path of a new link that signs ``user`` in."""
        return PATH + make_code(self.stack.settings.database_url, user, role)

    def end_sessions(self, user: str, seconds: float) -> None:
        """Let all sessions of a user reach their end ``seconds`` from now."""
        with owner(self.stack.settings.database_url) as cursor:
            cursor.execute(
                """UPDATE sessions SET created_at = now() - make_interval(secs => %s)
                   WHERE user_id = (SELECT id FROM users WHERE subject = %s)""",
                (self.stack.settings.session_max_seconds - seconds, user),
            )

    def get(self, path: str, user: str) -> Any:
        """The JSON of a GET, or the status of a refusal."""
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

    def streams(self, user: str) -> int:
        """The open streams of a user, as the server counts them."""
        settings = self.stack.settings
        key = f"{settings.redis_namespace}:streams:{self.get('/me', user)['id']}"
        with redis.Redis.from_url(settings.redis_url, socket_timeout=30) as store:
            return int(store.zcard(key))  # type: ignore[arg-type]

    def messages(self, conversation: str, user: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get(f"/conversations/{conversation}/messages", user)["items"]
        return items

    def finished(self, user: str, message: str, **fields: Any) -> dict[str, Any]:
        """Start an answer and wait for its end: {conversation, message, generation}."""
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
    """A worker and a web server with their own stores, for all tests. Each test has its own users."""
    yield from deployed(postgres, valkey, migrated_template, tmp_path_factory.mktemp("browser"))


def deployed(postgres: Postgres, valkey: Valkey, template: str, directory: Path) -> Iterator[Site]:
    """A worker and a web server with their own database. A test controls the model ``fake``."""
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


def door_of(page: Page) -> Locator:
    """The sentence about the sign-in link in the view of a visitor. The dialog of an ended session has it, too."""
    return page.locator("main.door").get_by_text("Open the sign-in link")


class Visitor:
    """A user with a browser: one context, and the actions of a user on the page."""

    def __init__(self, site: Site, context: BrowserContext, name: str) -> None:
        self.site = site
        self.context = context
        self.name = name
        self.trouble: list[str] = []
        self.page = self.tab()

    def tab(self) -> Page:
        """Open another tab of this browser."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("console", lambda message: self._hear(message.type, message.text))
        return page

    def _hear(self, kind: str, text: str) -> None:
        # The browser reports each refused request by itself; tests check those they expect. So does it report a header
        # that has no meaning on plain http.
        if kind == "error" and not any(report in text for report in REPORTS):
            self.trouble.append(text)

    def sign_in(self, path: str = "/", ttl: float | None = None, role: str | None = None) -> None:
        """Sign in with a link, then open ``path``. The session ends in ``ttl`` seconds, if they are given."""
        self.page.goto(self.site.url + path)
        self.enter(ttl, role)

    def enter(self, ttl: float | None = None, role: str | None = None) -> None:
        """Sign in with a link in this tab, then come back to its address."""
        address = self.page.url
        self.use_link(self.page, role)
        if ttl is not None:
            self.site.end_sessions(self.name, ttl)
        if urlsplit(address).path not in ("", "/") or ttl is not None:
            self.page.goto(address)
        expect(self.box).to_be_visible()

    def use_link(self, page: Page, role: str | None = None) -> None:
        """Open a new sign-in link in a tab, and press its button."""
        parts = urlsplit(page.url if page.url.startswith("http") else self.site.url)
        page.goto(f"{parts.scheme}://{parts.netloc}{self.site.sign_in_path(self.name, role)}")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("textbox", name="Message", exact=True)).to_be_visible()

    @property
    def door(self) -> Locator:
        """The view of a visitor without a session: its sentence about the sign-in link."""
        return door_of(self.page)

    def is_told(self, about: str = "Tell me about the sea") -> None:
        """Sign in and start an answer that goes on until ``site.enough()``."""
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
        """The text of the newest answer as far as it is drawn."""
        body = self.answer.locator(".body")
        return body.inner_text() if body.count() else ""

    def has_grown(self, characters: int = 40) -> None:
        """Wait until more than ``characters`` of the answer are drawn, while it is still being written."""
        self.until(lambda: len(self.shown()) > characters, "the answer grows")
        expect(self.answer).to_have_attribute("aria-busy", "true")

    def is_answered(self) -> None:
        """Wait for the end of the answer."""
        expect(self.answer).to_have_attribute("aria-busy", "false")

    def until(self, condition: Callable[[], Any], what: str, timeout: float = PATIENCE) -> None:
        """Wait for a condition. The policy of the page forbids eval, and with it Playwright's wait_for_function."""
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
        """All data that this browser keeps for the site."""
        kept: dict[str, str] = self.page.evaluate("({...localStorage, ...sessionStorage})")
        return kept

    def picture(self, name: str) -> None:
        OUT.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=OUT / f"{name}.png", animations="disabled")


@pytest.fixture
def visit(chromium: Browser, site: Site, request: pytest.FixtureRequest) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors, signed in unless ``signed_in=False``. An error in a console fails the test."""
    yield from visiting(chromium, site, request)


def visiting(chromium: Browser, site: Site, request: pytest.FixtureRequest) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors of this deployment, and checks their consoles at the end."""
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


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    """A server that sends the bytes of a test's script, and the modules of the page.

    Each test has its own: a request that the page of an earlier one sent last does not take a reply from the script.
    """
    with ScriptedServer() as server:
        yield server


class ModuleTab:
    """A tab for pages with the modules, and the server of the page that it shows."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.server: ScriptedServer
        page.expose_function("call", self._call)
        page.add_init_script(REPORT)

    def _call(self, name: str, *given: Any) -> Any:
        return self.server.calls[name](*given)


@pytest.fixture(scope="session")
def module_tab(chromium: Browser) -> Iterator[ModuleTab]:
    """One tab for all tests of modules: a tab of its own costs a test more than all that it does."""
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    yield ModuleTab(context.new_page())
    context.close()


@pytest.fixture
def module_page(module_tab: ModuleTab, scripted: ScriptedServer) -> Iterator[Page]:
    """An empty page of the server that has the modules. Its origin is new, so no test has data of another one."""
    module_tab.server = scripted
    module_tab.page.goto(scripted.url + "/blank")
    yield module_tab.page
    # The modules of the test end with their page.
    module_tab.page.goto(scripted.url + "/blank")
