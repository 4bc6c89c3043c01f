"""The shells of the two pages: their addresses, the modules that each loads, and the link from one to the other."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from app.api.application import create_app
from app.config import Settings
from app.web import diagram
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
    """A module that nothing imports is dead; two scripts stand for themselves, and a document names its language."""
    used = {name for modules in MODULES.values() for name in modules}
    ours = {name for name in ASSETS if name.endswith(".js") and not name.startswith("packages/")}
    assert ours - used - LATER - set(CATALOGUES.values()) == {"theme.js", "diagram_frame.js"}


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


def test_a_page_without_diagrams_loads_nothing_that_draws_them(client: FlaskClient) -> None:
    assert {"diagram.js", "diagram_drawing.js"} <= LATER
    named = loaded(client.get("/").text)
    assert "diagram_offer.js" in named
    assert named.isdisjoint({"diagram.js", "diagram_drawing.js", "diagram_frame.js", "packages/mermaid/mermaid.min.js"})


def test_the_policy_of_the_pages_allows_frames_of_this_server_and_no_more_for_diagrams(client: FlaskClient) -> None:
    assert client.get("/").headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; "
        "img-src 'self' data: blob:; manifest-src 'self'; frame-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def test_the_frame_of_diagrams_is_a_sandbox_without_a_network(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagram, "DIAGRAMS", "drawn")
    answer = client.get("/diagram")
    assert answer.headers["Content-Security-Policy"] == (
        "sandbox allow-scripts; default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; "
        "connect-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert loaded(answer.text) == {"packages/mermaid/mermaid.min.js", "diagram_frame.js"}
    monkeypatch.setattr(diagram, "DIAGRAMS", "written")
    assert client.get("/diagram").status_code == 404


def test_only_the_scripts_of_the_frame_may_be_loaded_by_a_page_without_an_origin(client: FlaskClient) -> None:
    for name in {"diagram_frame.js", "diagram.js", "packages/mermaid/mermaid.min.js"} & set(ASSETS):
        policy = client.get(f"/static/{name}").headers["Cross-Origin-Resource-Policy"]
        assert (name, policy) == (name, "same-origin" if name == "diagram.js" else "cross-origin")


def test_the_page_says_whether_it_can_draw_diagrams(client: FlaskClient) -> None:
    installed = "packages/mermaid/mermaid.min.js" in ASSETS
    assert f'<meta name="diagrams" content="{"drawn" if installed else "written"}">' in client.get("/").text
