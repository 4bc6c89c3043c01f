"""The page in German and in Arabic, and the settings, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from app.web.languages import COOKIE, LANGUAGES
from tests.browser.axe import faults
from tests.browser.conftest import Site, Visitor
from tests.browser.looks import fits, in_both_lights, stands_still

Visit = Callable[..., Visitor]
WIDTHS = (360, 820, 1440)
# The parts that scroll by themselves, where they are wider than their place.
CUT = """
() => [...document.querySelectorAll('.door, .thread, .settings, .sidebar .scroller, dialog[open]')]
  .filter(({scrollWidth, clientWidth}) => scrollWidth > clientWidth).map(({className}) => className)
"""
MODEL = "offline-fast"


def told(visit: Visit, site: Site, code: str, **options: object) -> Visitor:
    """A visitor whose browser speaks a language, with a finished answer on the screen."""
    visitor = visit(signed_in=False, locale=code, **options)
    started = site.finished(visitor.name, "Hello, sea")
    enter(visitor, f"/c/{started['conversation']['id']}", LANGUAGES[code].texts["composer.name"])
    expect(visitor.page.get_by_role("article", name=LANGUAGES[code].texts["answer.name"])).to_be_visible()
    return visitor


def enter(visitor: Visitor, path: str, box: str = "Message") -> None:
    """Sign in with a link, and open a path."""
    page = visitor.page
    page.goto(visitor.site.url + visitor.site.sign_in_path(visitor.name))
    page.locator("form button").click()
    expect(page.get_by_role("textbox", name=box, exact=True)).to_be_visible()
    visitor.go(path)


def in_all_widths(visitor: Visitor, name: str) -> None:
    """Check what is shown in both themes and all widths: nothing is cut off sideways, and axe-core has no fault."""
    for light in in_both_lights(visitor):
        for width in WIDTHS:
            visitor.page.set_viewport_size({"width": width, "height": 900})
            stands_still(visitor)
            visitor.picture(f"{name}-{light}-{width}")
            visitor.until(lambda: fits(visitor), f"{name} fits {width} pixels")
            assert visitor.page.evaluate(CUT) == [], f"{name} at {width}"
        assert faults(visitor.page) == [], f"{name} {light}"


@pytest.mark.parametrize("code", ["de", "ar"])
def test_a_visitor_reads_the_page_in_the_language_of_the_browser(visit: Visit, code: str) -> None:
    visitor = visit(signed_in=False, locale=code)
    visitor.go("/")
    texts = LANGUAGES[code].texts
    expect(visitor.page.get_by_role("heading", name=texts["sign_in.title"])).to_be_visible()
    root = visitor.page.locator("html")
    expect(root).to_have_attribute("lang", code)
    expect(root).to_have_attribute("dir", texts["direction"])


@pytest.mark.parametrize("code", ["de", "ar"])
def test_the_page_is_whole_in_both_themes_and_all_widths(visit: Visit, site: Site, code: str) -> None:
    visitor = told(visit, site, code)
    page, texts = visitor.page, LANGUAGES[code].texts
    in_all_widths(visitor, f"{code}-chat")
    # A list that covers the page begins at the side where lines begin.
    page.set_viewport_size({"width": 360, "height": 740})
    page.get_by_role("button", name=texts["sidebar.show"]).click()
    visitor.until(lambda: sidebar_is_at(page, "right" if code == "ar" else "left"), "the list is at its side")
    visitor.picture(f"{code}-list-360")
    assert faults(page) == []


def sidebar_is_at(page: Page, side: str) -> bool:
    box = page.locator("#sidebar").bounding_box()
    assert box is not None
    return abs(box["x"] if side == "left" else 360 - box["x"] - box["width"]) < 1


@pytest.mark.parametrize("code", ["de", "ar"])
def test_every_dialog_is_translated_and_accessible(visit: Visit, site: Site, code: str) -> None:
    visitor = told(visit, site, code)
    page, texts = visitor.page, LANGUAGES[code].texts
    for key in ("account.usage", "account.import", "account.account", "account.shortcuts"):
        page.get_by_role("button", name=texts["account.purpose"]).click()
        visitor.picture(f"{code}-menu")
        page.get_by_role("menuitem", name=texts[key], exact=True).click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        expect(dialog.locator("[aria-busy=true]")).to_have_count(0)
        stands_still(visitor)
        visitor.picture(f"{code}-{key}")
        assert faults(page) == [], key
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)


# Texts of the page with Latin words, without what a user or a model has written, and without names in isolates.
LATIN = """
() => {
  const written =
    'code, kbd, pre, noscript, figcaption, option[lang], .body, .bubble, .name, .preview, .who, .title, .about, .model';
  const texts = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) if (!walk.currentNode.parentElement.closest(written)) texts.push(walk.currentNode.data);
  for (const node of document.querySelectorAll('[aria-label], [title], [placeholder]'))
    for (const name of ['aria-label', 'title', 'placeholder'])
      if (!node.matches('.list a, .name')) texts.push(node.getAttribute(name) ?? '');
  return texts.map((text) => text.replace(/\\u2068[^\\u2069]*\\u2069/g, '')).filter((text) => /[A-Za-z]{3}/.test(text));
}
"""
NAMES = re.compile(
    r"Unbroken|Enter|Shift|Esc|API|JSON|Markdown|https|Top p|ChatGPT|LibreChat|conversations|offline|curl|Python"
)


def in_english(visitor: Visitor) -> list[str]:
    """Texts of an Arabic page that were not translated. Models have the names that operators gave them."""
    models = visitor.site.get("/models", visitor.name)["items"]
    named = {name for model in models for name in (model["name"], model["label"]) if name}
    found = [text for text in visitor.page.evaluate(LATIN) if text not in named]
    return [text for text in found if re.search("[A-Za-z]{3}", NAMES.sub("", text))]


def test_nothing_of_an_arabic_page_is_left_in_english(visit: Visit, site: Site) -> None:
    visitor = told(visit, site, "ar")
    page, texts = visitor.page, LANGUAGES["ar"].texts
    assert in_english(visitor) == []
    row = page.locator("#sidebar .list .icon-button").first
    for key in ("actions.rename", "actions.tags", "actions.share", "actions.delete"):
        row.click()
        assert in_english(visitor) == [], key
        page.get_by_role("menuitem", name=texts[key], exact=True).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        expect(page.locator("[aria-busy=true]")).to_have_count(0)
        stands_still(visitor)
        assert (in_english(visitor), faults(page)) == ([], []), key
        visitor.picture(f"ar-{key}")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name=texts["chat_settings.name"]).click()
    stands_still(visitor)
    assert (in_english(visitor), faults(page)) == ([], [])
    visitor.picture("ar-chat-settings")
    page.keyboard.press("Escape")
    page.get_by_role("button", name=texts["filter.button"]).click()
    assert in_english(visitor) == []
    visitor.picture("ar-filter")
    page.keyboard.press("Escape")
    for section in ("general", "chats", "keys", "sessions", "activity", "data"):
        visitor.go(f"/settings/{section}")
        expect(page.get_by_role("heading", name=texts["settings.name"])).to_be_visible()
        expect(page.locator("[aria-busy=true]")).to_have_count(0)
        assert in_english(visitor) == [], section


def test_an_answer_is_stopped_and_continued_in_german(visit: Visit, site: Site) -> None:
    visitor = visit(signed_in=False, locale="de")
    page, texts = visitor.page, LANGUAGES["de"].texts
    enter(visitor, "/m/fake/new", texts["composer.name"])
    site.behave(tokens=20_000, rate=20)
    box = page.get_by_role("textbox", name=texts["composer.name"], exact=True)
    box.fill("Erzähl vom Meer")
    box.press("Enter")
    answer = page.get_by_role("article", name=texts["answer.name"])
    visitor.until(lambda: len(answer.locator(".body").inner_text()) > 40, "the answer grows")
    page.get_by_role("button", name=texts["composer.stop"]).click()
    expect(answer.get_by_text(texts["ending.stopped"])).to_be_visible()
    expect(answer.get_by_role("button", name=texts["ending.continue"])).to_be_visible()
    answer.get_by_role("button", name=texts["feedback.good"]).click()
    expect(answer.get_by_text(texts["feedback.good_question"])).to_be_visible()
    stands_still(visitor)
    assert faults(page) == []
    visitor.picture("de-stopped")


def test_arrows_follow_the_direction_of_the_language(visit: Visit, site: Site) -> None:
    visitor = told(visit, site, "ar")
    page, texts = visitor.page, LANGUAGES["ar"].texts
    row = page.locator("#sidebar .list a").first
    row.focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("button", name=re.compile("^" + texts["list.actions_for"].split("{")[0]))).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(row).to_be_focused()


TEXTS = """
async (code) => {
  const {t, parts, facts, speak} = await import('/static/texts.js');
  if (code !== 'en') await import(`/static/texts/${code}.js`);
  const days = [0, 1, 2, 3, 11, 100].map((count) => t('usage.days', {count}));
  const hint = parts('composer.hint', {enter: 7, shift: null}).length;
  return {days, hint, name: t('tags.add', {tag: 'sea'}), facts: facts(['sea', '', '3']), other: t('no.such.text')};
}
"""


@pytest.mark.parametrize(
    ("code", "days", "name", "facts"),
    [
        ("en", ["0 days", "1 day", "2 days", "3 days", "11 days", "100 days"], "Add the tag sea", "sea · 3"),
        ("de", ["0 Tage", "1 Tag", "2 Tage", "3 Tage", "11 Tage", "100 Tage"], "Schlagwort sea hinzufügen", "sea · 3"),
        (
            "ar",
            ["{0} يوم", "يوم واحد", "يومان", "{3} أيام", "{11} يومًا", "{100} يوم"],
            "إضافة الوسم \u2068sea\u2069",
            "\u2068sea\u2069 · \u20683\u2069",
        ),
    ],
)
def test_a_text_has_its_plural_and_its_names(
    module_page: Page, code: str, days: list[str], name: str, facts: str
) -> None:
    found = module_page.evaluate(TEXTS, code)
    digits = module_page.evaluate(
        "(code) => [0, 3, 11, 100].map((n) => [n, new Intl.NumberFormat(code).format(n)])", code
    )
    for number, shown in digits:
        days = [day.replace(f"{{{number}}}", shown) for day in days]
    assert (found["days"], found["name"], found["facts"]) == (days, name, facts)
    assert found["other"] == "no.such.text"


def test_code_and_a_name_in_another_script_keep_their_direction(visit: Visit, site: Site) -> None:
    visitor = told(visit, site, "ar")
    label = visitor.page.locator("#sidebar .list li .icon-button").first.get_attribute("aria-label") or ""
    assert "\u2068Hello, sea\u2069" in label or "\u2068" in label


def test_the_choice_of_a_language_holds_in_every_browser(visit: Visit) -> None:
    first = visit()
    page = first.page
    first.go("/settings")
    page.get_by_label("Language").select_option(label="Deutsch")
    expect(page.get_by_role("heading", name="Einstellungen")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "de")
    page.reload()
    expect(page.get_by_role("heading", name="Einstellungen")).to_be_visible()

    second = visit(signed_in=False)
    second.name = first.name
    enter(second, "/settings", "Nachricht")
    expect(second.page.get_by_role("heading", name="Einstellungen")).to_be_visible()

    second.page.get_by_label("Sprache").select_option(value="")
    expect(second.page.get_by_role("heading", name="Settings")).to_be_visible()
    # The first browser follows when it loads the page again.
    first.go("/settings")
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
    assert [cookie for cookie in first.context.cookies() if cookie["name"] == COOKIE] == []


def test_a_page_whose_texts_do_not_load_is_loaded_once_more_and_no_more(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    loads: list[str] = []
    page.on("framenavigated", lambda frame: loads.append(frame.url))
    page.route("**/texts/de.js", lambda route: route.abort())
    visitor.go("/settings")
    loads.clear()
    page.get_by_label("Language").select_option(label="Deutsch")
    expect(page.locator("html")).to_have_attribute("lang", "de")
    # The page has read the choices of the user again, and stays.
    page.wait_for_timeout(3000)
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
    assert len(loads) == 1


def test_a_sign_out_forgets_the_language(visit: Visit) -> None:
    visitor = visit()
    visitor.go("/settings")
    visitor.page.get_by_label("Language").select_option(label="العربية")
    expect(visitor.page.locator("html")).to_have_attribute("dir", "rtl")
    texts = LANGUAGES["ar"].texts
    visitor.page.get_by_role("button", name=texts["account.purpose"]).click()
    visitor.page.get_by_role("menuitem", name=texts["account.sign_out"]).click()
    expect(visitor.door).to_be_visible()
    assert [cookie for cookie in visitor.context.cookies() if cookie["name"] == COOKIE] == []


def test_the_settings_are_reached_from_the_menu_and_by_the_keyboard(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    page.get_by_role("button", name="Account and settings").click()
    page.get_by_role("menuitem", name="Settings", exact=True).press("Enter")
    expect(page.get_by_role("heading", name="Settings")).to_be_focused()
    assert visitor.path == "/settings"
    sections = page.get_by_role("navigation", name="Sections of the settings")
    for name in ("New chats", "API keys", "Sessions", "Activity", "Your data", "General"):
        sections.get_by_role("link", name=name).press("Enter")
        expect(page.get_by_role("region", name=name)).to_be_visible()
        expect(sections.get_by_role("link", name=name)).to_have_attribute("aria-current", "page")
        expect(page.locator(".settings [aria-busy=true]")).to_have_count(0)
        stands_still(visitor)
        assert faults(page) == [], name
    page.go_back()
    expect(page.get_by_role("region", name="Your data")).to_be_visible()
    visitor.go("/settings/nothing")
    expect(page.get_by_role("heading", name="Nothing here")).to_be_visible()


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_settings_are_whole_in_both_themes_and_all_widths(visit: Visit, code: str) -> None:
    visitor = visit(signed_in=False, locale=code)
    page, texts = visitor.page, LANGUAGES[code].texts
    enter(visitor, "/settings", texts["composer.name"])
    for section in ("general", "chats", "keys", "data"):
        visitor.go(f"/settings/{section}")
        expect(page.get_by_role("heading", name=texts["settings.name"])).to_be_visible()
        expect(page.locator(".settings [aria-busy=true]")).to_have_count(0)
        in_all_widths(visitor, f"{code}-settings-{section}")


@pytest.mark.parametrize("code", ["de", "ar"])
def test_the_door_is_whole_in_both_themes_and_all_widths(visit: Visit, code: str) -> None:
    visitor = visit(signed_in=False, locale=code)
    visitor.go("/")
    expect(visitor.page.get_by_role("heading", name=LANGUAGES[code].texts["sign_in.title"])).to_be_visible()
    in_all_widths(visitor, f"{code}-door")
    visitor.go(visitor.site.sign_in_path(visitor.name))
    in_all_widths(visitor, f"{code}-link")
    visitor.page.locator("form button").click()
    expect(visitor.page.locator(".greeting")).to_be_visible()
    in_all_widths(visitor, f"{code}-new")


def test_a_new_chat_begins_with_the_choices_of_the_user(visit: Visit, site: Site) -> None:
    visitor = visit()
    page = visitor.page
    visitor.go("/settings/chats")
    page.get_by_role("combobox", name="Model Answers where").select_option(MODEL)
    page.get_by_label("Instructions").fill("Answer in verse.")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved", exact=True)).to_be_visible()
    kept = site.get("/me/preferences", visitor.name)
    assert (kept["model"], kept["system_prompt"], kept["parameters"]["temperature"]) == (MODEL, "Answer in verse.", 0.5)

    visitor.go("/new")
    visitor.send("Hello, sea")
    visitor.is_answered()
    conversation = site.get(f"/conversations/{visitor.conversation}", visitor.name)
    assert (conversation["system_prompt"], conversation["parameters"]["temperature"]) == ("Answer in verse.", 0.5)


def test_what_the_server_refuses_is_said_at_the_form(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    visitor.go("/settings/chats")
    page.get_by_label("Instructions").fill("x" * 8001)
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".settings .problem")).to_contain_text("system_prompt")


def test_a_refusal_is_said_in_the_language_of_the_page(visit: Visit) -> None:
    visitor = visit(signed_in=False, locale="de")
    enter(visitor, "/settings/chats", "Nachricht")
    visitor.page.get_by_label("Anweisungen").fill("x" * 8001)
    visitor.page.get_by_role("button", name="Speichern").click()
    expect(visitor.page.locator(".settings .problem")).to_have_text("Das wird nicht angenommen: system_prompt")


def test_a_theme_holds_in_every_browser(visit: Visit, site: Site) -> None:
    visitor = visit()
    visitor.go("/settings")
    visitor.page.get_by_label("Theme").select_option(label="Dark")
    expect(visitor.page.locator("html")).to_have_attribute("data-theme", "dark")
    visitor.until(lambda: site.get("/me/preferences", visitor.name)["theme"] == "dark", "the theme is kept")
    other = visit(signed_in=False)
    other.name = visitor.name
    enter(other, "/settings")
    expect(other.page.locator("html")).to_have_attribute("data-theme", "dark")


def test_names_in_titles_are_switched_in_the_settings(visit: Visit) -> None:
    visitor = visit()
    visitor.go("/settings")
    box = visitor.page.get_by_role("checkbox", name="Names in tab titles")
    expect(box).to_be_checked()
    box.press("Space")
    assert visitor.stored()["unbroken.tab-names"] == "hidden"
    visitor.page.reload()
    expect(box).not_to_be_checked()
