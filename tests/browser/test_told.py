"""The fate of an answer, on the page: its end, what it waits for, who makes it, news from another conversation."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.conftest import ENDLESS, Site, Visitor
from tests.browser.looks import look
from tests.browser.test_page import row

Visit = Callable[..., Visitor]
WIDTHS = {360: 740, 820: 1100, 1440: 900}
# A page that believes to be hidden, and a system that keeps its notifications.
HIDDEN = """
  window.notified = [];
  window.away = false;
  Object.defineProperty(Document.prototype, 'hidden', {get: () => window.away});
  window.Notification = class {
    static permission = 'granted';
    constructor(title, {body, tag}) { window.notified.push({title, body, tag}); }
    close() {}
  };
"""


def test_each_end_of_an_answer_is_told_with_what_can_be_done(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    page = alice.page
    site.behave(tokens=30, rate=0, finish="length")
    alice.sign_in("/m/fake/new")
    alice.send("Tell me about the sea")
    expect(alice.answer.get_by_text("The answer is cut off here")).to_be_visible()
    cut = site.messages(alice.conversation, alice.name)[-1]["content"]
    page.reload()
    site.behave(tokens=60, rate=0)
    alice.answer.get_by_role("button", name="Continue").click()
    expect(alice.answer.get_by_text("2 of 2")).to_be_visible()
    alice.is_answered()
    whole = site.messages(alice.conversation, alice.name)[-1]
    assert whole["content"].startswith(cut)
    assert len(whole["content"]) > len(cut)
    expect(alice.answer.get_by_text("cut off")).to_have_count(0)

    site.behave(text="As far as that goes", rate=0, finish="content_filter")
    alice.send("And then?")
    expect(alice.answer.get_by_text("held back the rest of this answer")).to_be_visible()
    site.behave(text="", rate=0)
    alice.send("Nothing?")
    expect(alice.answer.get_by_text("The model has sent an empty answer.")).to_be_visible()
    site.behave(status=400, error_message="This model is resting.")
    alice.send("Once more")
    expect(alice.answer.get_by_text("The provider of the model refused the request.")).to_be_visible()
    expect(alice.answer.get_by_text("This model is resting.")).to_be_hidden()
    alice.answer.get_by_text("Details").click()
    expect(alice.answer.get_by_text("This model is resting.")).to_be_visible()
    for width, height in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": height})
        look(alice, f"told-{width}")
    alice.answer.get_by_role("button", name="Another model", exact=True).press("Enter")
    look(alice, "told-models")
    page.get_by_role("menuitemradio", name="offline-fast").click()
    expect(alice.answer.get_by_text("offline-fast ·")).to_be_visible()
    assert site.messages(alice.conversation, alice.name)[-1]["status"] == "completed"


def test_a_silent_answer_says_what_it_waits_for(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    page = alice.page
    # The second call is held, so that the reason of the wait stays until it was seen.
    site.behave(tokens=ENDLESS, rate=20, status=429, retry_after=1, once=True, held=True)
    alice.sign_in("/m/fake/new")
    alice.send("Tell me about the tide")
    expect(
        alice.answer.get_by_text(re.compile("too many requests just now. It is asked again, attempt 2"))
    ).to_be_visible()
    alice.picture("told-retry")
    site.behave(tokens=ENDLESS, rate=20)
    alice.has_grown()
    expect(alice.answer.get_by_text("It is asked again")).to_be_hidden()
    alice.send("And then?")
    waiting = alice.answer.get_by_text("Waiting for its turn: the answer before it is still being written")
    expect(waiting).to_be_visible()
    first = page.get_by_role("article", name="Answer").first
    site.worker.kill()
    expect(first.get_by_text("does not respond")).to_be_visible()
    look(alice, "told-silent-worker")
    site.worker = site.stack.worker()
    expect(first.get_by_role("note")).to_be_visible()
    expect(first.get_by_text("does not respond")).to_be_hidden()
    site.enough()
    alice.is_answered()


def test_a_refusal_tells_ones_own_limit_from_a_busy_service(visit: Visit) -> None:
    alice = visit()
    problem = {"type": "/problems/overloaded", "detail": "100 of yours wait (MAX_QUEUED_PER_USER).", "status": 429}
    replies = [{**problem, "limit": "MAX_QUEUED_PER_USER"}, {**problem, "limit": "MAX_QUEUED"}]
    alice.page.route(
        "**/api/v1/generations",
        lambda route: route.fulfill(
            status=429, json=replies[0], content_type="application/problem+json", headers={"Retry-After": "2"}
        ),
    )
    alice.send("too much")
    expect(alice.page.get_by_text(re.compile(r"Your limit, trying again in \d+ s"))).to_be_visible()
    expect(alice.answer.get_by_text("As many of your messages are waiting")).to_be_visible()
    replies.pop(0)
    expect(alice.page.get_by_text(re.compile(r"Busy, trying again in \d+ s"))).to_be_visible()


def test_the_model_is_chosen_in_a_conversation_and_an_unknown_one_is_told(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    page = alice.page
    begun = site.finished(alice.name, "Hello")["conversation"]["id"]
    alice.sign_in(f"/m/nothing/c/{begun}")
    expect(page.get_by_text("The address names a model “nothing”")).to_be_visible()
    expect(page).to_have_url(re.compile(rf"/m/offline-fast/c/{begun}$"))
    page.get_by_role("button", name="Model: offline-fast").press("Enter")
    clever = page.get_by_role("menuitemradio", name=re.compile("Clever"))
    expect(clever.get_by_text("Tools", exact=True)).to_be_visible()
    clever.click()
    expect(page).to_have_url(re.compile(rf"/m/clever/c/{begun}$"))
    expect(page.get_by_role("button", name="Model: Clever")).to_be_focused()
    site.behave(text="Yes.", rate=0)
    alice.send("Is it you?")
    expect(alice.answer.get_by_text("Clever ·")).to_be_visible()
    assert site.get(f"/conversations/{begun}", alice.name)["model"] == "clever"
    page.get_by_role("button", name="Settings of this chat").press("Enter")
    dialog = page.get_by_role("dialog", name="Settings of this chat")
    dialog.get_by_label("Instructions").fill("Answer in rhymes.")
    dialog.get_by_label("Most tokens").fill("500")
    look(alice, "told-settings")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    kept = site.get(f"/conversations/{begun}", alice.name)
    assert (kept["system_prompt"], kept["parameters"].get("max_tokens")) == ("Answer in rhymes.", 500)
    alice.go("/m/nothing/new")
    expect(page.get_by_text("This service lists no model named “nothing”.")).to_be_visible()
    look(alice, "told-unknown-model")
    alice.box.fill("half a thought")
    page.get_by_role("button", name=re.compile("^Use ")).click()
    expect(page).to_have_url(re.compile("/new$"))
    expect(alice.box).to_have_value("half a thought")


def test_an_answer_that_ends_elsewhere_is_counted_and_notified_of(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    page = alice.page
    page.add_init_script(HIDDEN)
    site.finished(alice.name, "Here")
    alice.sign_in("/m/offline-fast/new")
    expect(row(alice, "Here")).to_be_visible()
    there = site.finished(alice.name, "There")["conversation"]["id"]
    expect(page).to_have_title(re.compile(r"^\(1\) "))
    assert page.evaluate("window.notified") == []
    page.evaluate("window.away = true")
    site.finished(alice.name, "Far away")
    expect(page).to_have_title(re.compile(r"^\(2\) "))
    alice.until(lambda: page.evaluate("window.notified").__len__() == 1, "the user is notified")
    assert page.evaluate("window.notified[0].title") == "The answer is finished"
    page.evaluate("window.away = false")
    row(alice, "There").get_by_role("link").click()
    expect(page).to_have_url(re.compile(there))
    expect(page).to_have_title(re.compile(r"^\(1\) "))
