"""The shells of the two pages: their addresses, the modules that each loads, and the link from one to the other."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from app.api.application import create_app
from app.config import Settings
from app.web.views import ASSETS, CATALOGUES, LATER, MODULES

HTML = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    settings = Settings(database_url="postgresql://a:b@c/d", redis_url="redis://c", jwt_secret="x" * 32)
    return create_app(settings).test_client()


def loaded(shell: str) -> set[str]:
    """The modules and styles that a shell names."""
    return set(re.findall(r'(?:src|href)="/static/[0-9a-f]+/([^"]+)"', shell))


def test_the_page_of_users_loads_nothing_of_the_operators(client: FlaskClient) -> None:
    named = loaded(client.get("/").text)
    assert {"main.js", "workspace.js", "app.css"} <= named
    assert [name for name in named if name.startswith("ops/")] == []


def test_the_operators_page_loads_its_modules_and_not_the_chat(client: FlaskClient) -> None:
    named = loaded(client.get("/ops").text)
    assert {"ops/main.js", "ops/plot.js", "ops/ops.css", "app.css", "dom.js"} <= named
    assert named.isdisjoint({"main.js", "workspace.js", "chat.js", "markdown.js", "stream.js"})


def test_every_module_belongs_to_a_page() -> None:
    """A module that nothing imports is dead; theme.js is a script of its own, and a document names its language."""
    used = {name for modules in MODULES.values() for name in modules}
    ours = {name for name in ASSETS if name.endswith(".js") and not name.startswith("packages/")}
    assert ours - used - LATER - set(CATALOGUES.values()) == {"theme.js"}


@pytest.mark.parametrize(
    "path",
    [
        "/ops",
        "/ops/",
        "/ops/generations?status=error",
        "/ops/generations/x",
        "/ops/workers",
        "/ops/users",
        "/ops/users/x",
    ],
)
def test_the_operators_page_has_its_addresses(client: FlaskClient, path: str) -> None:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == 200
    assert "trusted-types 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/ops/nothing", "/ops/generations/x/y", "/ops/../ops/x"])
def test_an_address_without_a_view_is_not_found_on_its_page(client: FlaskClient, path: str) -> None:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == 404
    assert "ops/main.js" in loaded(answer.text)


def test_the_page_of_users_leads_to_operators_unless_a_proxy_closes_their_page(client: FlaskClient) -> None:
    for header, content in (
        ({}, "open"),
        ({"X-Operators-Page": "closed"}, "closed"),
        ({"X-Operators-Page": '"'}, "open"),
    ):
        assert f'<meta name="operators-page" content="{content}">' in client.get("/", headers=header).text


def test_the_scripts_of_a_chat_without_formulas_are_small() -> None:
    """Bytes as they are sent, compressed; the files of packages are loaded when an answer needs them."""
    assert sum(len(ASSETS[name].zipped) for name in [*MODULES["chat"], "theme.js"]) < 150_000


def test_the_page_says_whether_it_can_draw_formulas(client: FlaskClient) -> None:
    installed = "packages/katex/katex.min.js" in ASSETS
    shell = client.get("/").text
    assert f'<meta name="formulas" content="{"drawn" if installed else "written"}">' in shell
    assert "packages/" not in shell
