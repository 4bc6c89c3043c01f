"""The catalogues of the page have the same keys and places, and the page has no text outside of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.api.application import create_app
from app.config import Settings
from app.web.languages import COOKIE, LANGUAGES
from app.web.views import ASSETS, CATALOGUES, MODULES, STATIC
from tests.unit.page_literals import literals

APP = STATIC.parents[1]
OTHERS = sorted(set(LANGUAGES) - {"en"})
ENGLISH: dict[str, Any] = LANGUAGES["en"].texts
PLACE = re.compile(r"\{(\w+)\}")
USE = re.compile(r"\b(?:t|parts)\(\s*'([^']+)'")
# The server names the reasons of a refused link.
NAMED = re.compile(r"\"(link\.\w+)\"")
# The forms that a plural of each language has, by the rules of Unicode's CLDR.
FORMS = {
    "en": {"one", "other"},
    "de": {"one", "other"},
    "ar": {"zero", "one", "two", "few", "many", "other"},
}
# Keys that code puts together: an action of the audit, which an older page may not know.
TOGETHER = "audit."
# Names, and what programs read.
NAMES = {"Unbroken", " · Unbroken", "Authorization: Bearer unb_…"}
# Reasons between modules, which no reader sees, and a program to copy.
INTERNAL = {
    "no generation in the reply",
    "not a stream",
    "ended without done",
    "a reply is too large",
    "an event is too large",
    'from openai import OpenAI\\n\\nclient = OpenAI(base_url="',
}
# Words of programming languages and of HTML, and the documented reader for pages of others.
VOCABULARIES = {"code.js", "entities.js", "html_tags.js", "stream.js"}
HTML = {"Accept": "text/html"}


def modules() -> list[Path]:
    """The modules that the page of users and the page of a share are made of."""
    return [path for path in sorted(STATIC.glob("*.js")) if path.name not in VOCABULARIES]


def used() -> set[str]:
    """The keys that modules and templates name."""
    sources = [*STATIC.glob("*.js"), *(APP / "web" / "templates").glob("*.html")]
    named = NAMED.findall((APP / "api" / "sign_in.py").read_text())
    return {key for path in sources for key in USE.findall(path.read_text())} | set(named)


def forms(text: str | dict[str, str]) -> dict[str, str]:
    return text if isinstance(text, dict) else {"other": text}


def test_every_text_is_used() -> None:
    unused = {key for key in ENGLISH if not key.startswith(TOGETHER)} - used() - {"direction"}
    assert unused == set()


def test_every_used_text_is_there() -> None:
    assert used() - set(ENGLISH) == set()


def test_an_action_of_the_audit_with_a_text_exists() -> None:
    services = "".join(path.read_text() for path in (APP / "services").rglob("*.py"))
    named = {key.removeprefix(TOGETHER) for key in ENGLISH if key.startswith(TOGETHER)}
    assert {action for action in named if f'"{action}"' not in services} == set()


@pytest.mark.parametrize("code", OTHERS)
def test_a_language_has_the_keys_of_english(code: str) -> None:
    assert set(LANGUAGES[code].texts) == set(ENGLISH)


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_keys_stand_in_the_order_of_the_alphabet(code: str) -> None:
    keys = list(LANGUAGES[code].texts)
    assert keys == sorted(keys)


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_plural_has_the_forms_of_its_language(code: str) -> None:
    plurals = {key: set(text) for key, text in LANGUAGES[code].texts.items() if isinstance(text, dict)}
    assert {key: found for key, found in plurals.items() if found != FORMS[code]} == {}
    assert set(plurals) == {key for key, text in ENGLISH.items() if isinstance(text, dict)}


@pytest.mark.parametrize("code", OTHERS)
def test_a_text_has_the_places_of_english(code: str) -> None:
    """A form of a plural may say its number in words."""
    wrong = {}
    for key, text in LANGUAGES[code].texts.items():
        wanted = set(PLACE.findall(forms(ENGLISH[key])["other"]))
        for name, form in forms(text).items():
            found = set(PLACE.findall(form))
            if found != wanted and (name == "other" or found | {"count"} != wanted | {"count"}):
                wrong[f"{key} {name}"] = found ^ wanted
    assert wrong == {}


@pytest.mark.parametrize("code", LANGUAGES)
def test_no_text_is_empty_or_left_in_english(code: str) -> None:
    assert {key for key, text in LANGUAGES[code].texts.items() if not all(forms(text).values())} == set()
    if code != "en":
        sentences = {key for key, text in ENGLISH.items() if isinstance(text, str) and text.count(" ") > 2}
        assert {key for key in sentences if LANGUAGES[code].texts[key] == ENGLISH[key]} == set()


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.name)
def test_a_module_has_no_text_of_its_own(path: Path) -> None:
    assert [text for text in literals(path.read_text()) if text not in NAMES | INTERNAL] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("h('p', { class: 'two words' }, 'Hello')", ["Hello"]),
        ("h('p', {}, one ? 'yes' : t('a.b'))", ["yes"]),
        ("const all = { 'aria-label': 'Close', class: 'icon wide' };", ["Close"]),
        ("node.title = `Remove ${name}`;", ["Remove "]),
        ("announce(`${n} found`)", [" found"]),
        ("const LATE = 'It did not come in time.';", ["It did not come in time."]),
        ("x.split(/a 'b c d/); toast('No')", ["No"]),
        ("h('p', {}, `a ${t('k.x', { name: 'b' })}`)", []),
        ("// It's a comment.\nrow(`/c/${id}`, 'Content-Type')", []),
    ],
)
def test_the_search_for_texts_finds_those_that_are_shown(source: str, found: list[str]) -> None:
    assert list(literals(source)) == found


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    settings = Settings(database_url="postgresql://a:b@c/d", redis_url="redis://c", jwt_secret="x" * 32)
    return create_app(settings).test_client(use_cookies=False)


@pytest.mark.parametrize(
    ("cookie", "accepted", "code"),
    [
        (None, None, "en"),
        (None, "de-AT,de;q=0.9,en;q=0.5", "de"),
        (None, "ar", "ar"),
        (None, "fr, ar;q=0.3, en;q=0.2", "ar"),
        (None, "fr", "en"),
        (None, "*", "en"),
        (None, "en-US,*;q=0.5", "en"),
        (None, "de-CH,en;q=0.5", "de"),
        (None, "de;q=0, en;q=0.5", "en"),
        ("ar", "de", "ar"),
        ("xx", "de", "de"),
        ('"><script>', "de", "de"),
    ],
)
def test_the_server_chooses_the_language(
    client: FlaskClient, cookie: str | None, accepted: str | None, code: str
) -> None:
    headers = {**HTML}
    if cookie:
        headers["Cookie"] = f"{COOKIE}={cookie}"
    if accepted:
        headers["Accept-Language"] = accepted
    for path in ("/", "/no/such/page"):
        answer = client.get(path, headers=headers)
        assert f'<html lang="{code}" dir="{LANGUAGES[code].direction}">' in answer.text
        assert ("/texts/de.js" in answer.text, "/texts/ar.js" in answer.text) == (code == "de", code == "ar")
        assert {"Accept-Language", "Cookie"} <= set(answer.headers["Vary"].split(", "))


def test_the_operators_page_is_in_english(client: FlaskClient) -> None:
    answer = client.get("/ops", headers={**HTML, "Accept-Language": "de"})
    assert '<html lang="en">' in answer.text
    assert "texts/de.js" not in answer.text


@pytest.mark.parametrize("catalogue", CATALOGUES.values())
def test_the_scripts_of_a_chat_in_another_language_are_small(catalogue: str) -> None:
    assert sum(len(ASSETS[name].zipped) for name in [*MODULES["chat"], "theme.js", catalogue]) < 150_000
