"""The page in a real browser against a real deployment: actions of users, and data that must never be lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import APIResponse, Locator, Route, expect

from tests.browser.conftest import ENDLESS, SIZES, Site, Visitor, door_of
from tests.browser.looks import look
from tests.stack import until

Visit = Callable[..., Visitor]
NUMBERED = re.compile(r"k\d+\.\d+")  # the tokens of the model ``fake``
CHAT = re.compile(r"/c/[0-9a-f-]{36}$")


def row(visitor: Visitor, title: str) -> Locator:
    """A conversation in the list."""
    return visitor.page.get_by_role("navigation", name="Conversations").get_by_role("listitem").filter(has_text=title)


def choose(visitor: Visitor, title: str, action: str) -> None:
    """An entry of a conversation's menu."""
    row(visitor, title).hover()
    row(visitor, title).get_by_role("button").click()
    visitor.page.get_by_role("menuitem", name=action).click()


def active(site: Site, visitor: Visitor) -> list[str]:
    """Conversations with an answer that is still being written."""
    listed = site.get("/conversations?limit=100", visitor.name)["items"]
    return [each["id"] for each in listed if each["has_active_generation"]]


def is_shown_again(visitor: Visitor) -> None:
    """The stored answer is drawn, before and after a reload."""
    kept = NUMBERED.findall(visitor.site.messages(visitor.conversation, visitor.name)[-1]["content"])
    visitor.until(lambda: NUMBERED.findall(visitor.shown()) == kept, "all of the answer is drawn")
    visitor.page.reload()
    visitor.until(lambda: NUMBERED.findall(visitor.shown()) == kept, "all of the answer is drawn again")


# --- one answer ------------------------------------------------------------------------------------------------------


def test_a_new_chat_becomes_a_conversation_without_a_reload(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    assert site.get("/conversations", alice.name)["items"] == []
    site.behave(text="## The sea\n\n" + "It is wide, and it is deep. " * ENDLESS, piece=12, rate=20)
    alice.sign_in("/m/fake/new")
    alice.page.evaluate("window.sameDocument = true")
    alice.send("Tell me about the sea")
    alice.has_grown()
    expect(alice.page).to_have_url(CHAT)
    assert alice.page.evaluate("window.sameDocument")
    expect(alice.page.get_by_text("Live", exact=True)).to_be_visible()
    alice.picture("streaming")
    site.enough()
    alice.is_answered()
    question, answer = site.messages(alice.conversation, alice.name)
    assert question["content"] == "Tell me about the sea"
    assert answer["status"] == "completed"
    expect(alice.answer.get_by_role("heading").first).to_be_visible()
    assert len(site.get("/conversations", alice.name)["items"]) == 1


def test_stopping_keeps_what_was_written(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.is_told()
    alice.page.get_by_role("button", name="Stop the answer").click()
    alice.is_answered()
    expect(alice.answer.get_by_text("Stopped.")).to_be_visible()
    answer = site.messages(alice.conversation, alice.name)[-1]
    assert answer["status"] == "cancelled"
    assert len(answer["content"]) > 40
    shown = alice.shown()
    alice.page.reload()
    expect(alice.answer.get_by_text("Stopped.")).to_be_visible()
    alice.until(lambda: alice.shown() == shown, "the same is shown")


def test_a_cancel_that_is_only_stored_keeps_its_reader(visit: Visit, site: Site) -> None:
    """Status 202: the answer goes on until a worker ends it, and the page shows both."""
    alice = visit(signed_in=False)
    alice.is_told()

    def only_store(route: Route) -> None:
        generation = route.request.url.split("/")[-2]
        route.fulfill(status=202, json=site.get(f"/generations/{generation}", alice.name))

    alice.page.route("**/cancel", only_store)
    with alice.page.expect_response("**/cancel"):
        alice.page.get_by_role("button", name="Stop the answer").click()
    # Longer than CANCEL_GRACE of following.js.
    alice.page.wait_for_timeout(3000)
    alice.has_grown(len(alice.shown()))
    site.enough()
    alice.is_answered()
    is_shown_again(alice)


def test_escape_stops_too_and_the_next_message_is_answered(visit: Visit) -> None:
    alice = visit(signed_in=False)
    alice.is_told()
    alice.box.press("Escape")
    alice.is_answered()
    alice.send("Go on")
    expect(alice.page.get_by_role("article", name="Answer")).to_have_count(2)
    alice.has_grown()


def test_a_refresh_in_the_middle_loses_nothing(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.is_told()
    alice.page.reload()
    expect(alice.answer).to_have_attribute("aria-busy", "true")
    alice.has_grown()
    site.enough()
    alice.is_answered()
    answer = site.messages(alice.conversation, alice.name)[-1]
    generation = site.get(f"/generations/{answer['generation_id']}", alice.name)
    alice.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    alice.page.get_by_role("button", name="Copy answer").click()
    copied = generation["content"]
    alice.until(lambda: alice.page.evaluate("navigator.clipboard.readText()") == copied, "all of it is copied")
    assert copied == answer["content"]


def test_leaving_and_coming_back_finds_the_answer_still_growing(visit: Visit) -> None:
    alice = visit(signed_in=False)
    alice.is_told()
    path = alice.path
    alice.page.get_by_role("link", name="New chat").click()
    expect(alice.page).to_have_url(re.compile("/new$"))
    expect(alice.page.get_by_role("article", name="Answer")).to_have_count(0)
    alice.page.go_back()
    expect(alice.page).to_have_url(re.compile(re.escape(path)))
    alice.has_grown()


def test_a_message_sent_while_the_answer_grows_waits_for_its_turn(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.is_told()
    alice.send("And then?")
    expect(alice.page.get_by_role("article", name="Answer")).to_have_count(2)
    expect(alice.page.get_by_text(re.compile("Waiting for its turn"))).to_be_visible()
    site.enough()
    alice.is_answered()
    said = [(each["role"], each["status"]) for each in site.messages(alice.conversation, alice.name)]
    assert said == [("user", "completed"), ("assistant", "completed")] * 2


def test_a_restarted_web_server_is_said_and_nothing_is_lost(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.is_told()
    heard = alice.page.evaluate_handle(
        """() => {
          const heard = [], chip = document.querySelector('.connection');
          const hear = () => heard.at(-1) === chip.dataset.state || heard.push(chip.dataset.state);
          new MutationObserver(hear).observe(chip, {attributes: true});
          return heard;
        }"""
    )
    site.restart_web()
    alice.until(lambda: {"waiting", "connecting"} & {*heard.json_value()}, "it is said")
    alice.has_grown(len(alice.shown()) + 40)
    site.enough()
    alice.is_answered()
    answer = site.messages(alice.conversation, alice.name)[-1]
    assert answer["status"] == "completed"
    is_shown_again(alice)


def test_an_answer_that_was_taken_over_says_so(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.is_told()
    site.lose_worker()
    notice = alice.answer.get_by_role("note")
    expect(notice).to_be_visible()
    alice.picture("taken-over")
    site.enough()
    alice.is_answered()
    assert site.messages(alice.conversation, alice.name)[-1]["status"] == "completed"
    notice.get_by_role("button", name="Dismiss").click()
    expect(notice).to_be_hidden()


def test_regenerating_adds_a_version_one_can_turn_to(visit: Visit) -> None:
    alice = visit(signed_in=False)
    alice.sign_in("/m/offline-fast/new")
    alice.send("Once more, please")
    alice.is_answered()
    expect(alice.page).to_have_url(re.compile(r"/m/offline-fast/c/"))
    alice.page.get_by_role("button", name="Answer again").click()
    expect(alice.answer.get_by_text("2 of 2")).to_be_visible()
    alice.is_answered()
    alice.answer.get_by_role("button", name="Previous version").click()
    expect(alice.answer.get_by_text("1 of 2")).to_be_visible()


def test_editing_a_message_asks_on_a_new_branch(visit: Visit) -> None:
    alice = visit(signed_in=False)
    alice.sign_in("/m/offline-fast/new")
    alice.send("About wether")
    alice.is_answered()
    alice.box.press("ArrowUp")
    alice.page.get_by_role("textbox", name="Edit message").fill("About weather")
    alice.page.get_by_role("textbox", name="Edit message").press("Enter")
    question = alice.page.get_by_role("article", name="You wrote")
    expect(question.get_by_text("About weather")).to_be_visible()
    expect(question.get_by_text("2 of 2")).to_be_visible()
    alice.is_answered()
    question.get_by_role("button", name="Previous version").click()
    expect(question.get_by_text("About wether")).to_be_visible()


# --- addresses ---------------------------------------------------------------------------------------------------


def test_an_unknown_conversation_is_a_friendly_page(visit: Visit) -> None:
    alice = visit()
    alice.go("/c/0197a000-0000-7000-8000-000000000000")
    expect(alice.page.get_by_role("heading", name="Nothing here")).to_be_visible()
    alice.picture("nothing-here")
    alice.page.get_by_role("link", name="Start a new chat").click()
    expect(alice.box).to_be_focused()


@pytest.mark.parametrize("path", ["/nowhere", "/c/", "/m/x", "/c/a/b"])
def test_an_unknown_address_is_a_404_with_the_same_friendly_page(visit: Visit, path: str) -> None:
    alice = visit()
    response = alice.page.goto(alice.site.url + path)
    assert response is not None
    assert response.status == 404
    expect(alice.page.get_by_role("heading", name="Nothing here")).to_be_visible()


def test_somebody_elses_conversation_looks_like_none(visit: Visit, site: Site) -> None:
    alice = visit("alice")
    mine = site.finished(alice.name, "a secret")
    bob = visit("bob")
    bob.go(f"/c/{mine['conversation']['id']}")
    expect(bob.page.get_by_role("heading", name="Nothing here")).to_be_visible()
    assert "secret" not in bob.page.content()


def test_back_and_forward_move_between_conversations(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    first = site.finished(alice.name, "The first one")["conversation"]["id"]
    second = site.finished(alice.name, "The second one")["conversation"]["id"]
    alice.sign_in(f"/c/{first}")
    row(alice, "The second one").get_by_role("link").click()
    expect(alice.page).to_have_url(re.compile(second))
    alice.page.go_back()
    expect(alice.page.get_by_label("You wrote").get_by_text("The first one")).to_be_visible()
    alice.page.go_forward()
    expect(alice.page.get_by_label("You wrote").get_by_text("The second one")).to_be_visible()


# --- the list ----------------------------------------------------------------------------------------------------


def test_the_list_is_newest_first_and_loads_more_as_one_scrolls(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    for number in range(34):
        site.post("/generations", alice.name, {"message": f"Question {number:02}", "model": "offline-fast"})
    until(lambda: not active(site, alice), 120, "that all are answered")
    # The newest is the one that was answered last, not the one that was asked last.
    ids = [each["id"] for each in site.get("/conversations?limit=100", alice.name)["items"]]
    alice.sign_in()
    items = alice.page.get_by_role("navigation", name="Conversations").get_by_role("listitem")
    expect(items.first.get_by_role("link")).to_have_attribute("href", re.compile(ids[0]))
    alice.until(lambda: items.count() >= 30, "the first page is there")
    alice.page.locator(".scroller").evaluate("(node) => node.scrollTo(0, node.scrollHeight)")
    expect(items).to_have_count(34)
    shown = items.get_by_role("link")
    assert [(shown.nth(each).get_attribute("href") or "").rpartition("/")[2] for each in range(34)] == ids


def test_renaming(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    conversation = site.finished(alice.name, "Before")["conversation"]["id"]
    alice.sign_in(f"/c/{conversation}")
    choose(alice, "Before", "Rename")
    alice.page.get_by_role("textbox", name="Name of the conversation").fill("A better name")
    alice.page.keyboard.press("Enter")
    expect(row(alice, "A better name")).to_be_visible()
    expect(alice.page.get_by_role("heading", name="A better name")).to_be_visible()
    assert site.get(f"/conversations/{conversation}", alice.name)["title"] == "A better name"


def test_deleting_asks_first_and_leaves_nothing(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    conversation = site.finished(alice.name, "Throw me away")["conversation"]["id"]
    alice.sign_in(f"/c/{conversation}")
    choose(alice, "Throw me away", "Delete")
    alice.page.get_by_role("button", name="Cancel").click()
    assert site.get(f"/conversations/{conversation}", alice.name)["id"] == conversation
    choose(alice, "Throw me away", "Delete")
    alice.picture("delete")
    alice.page.get_by_role("button", name="Delete", exact=True).click()
    expect(alice.page).to_have_url(re.compile("/new$"))
    expect(row(alice, "Throw me away")).to_have_count(0)
    assert site.get(f"/conversations/{conversation}", alice.name) == 404


def test_archiving_and_bringing_back(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    site.finished(alice.name, "Put away")
    alice.sign_in()
    choose(alice, "Put away", "Archive")
    expect(row(alice, "Put away")).to_have_count(0)
    alice.page.get_by_role("button", name=re.compile("Account and settings")).click()
    alice.page.get_by_role("menuitem", name="Archived conversations").click()
    expect(row(alice, "Put away")).to_be_visible()
    choose(alice, "Put away", "Restore")
    alice.page.get_by_role("button", name="Remove the filter: Archived").click()
    expect(row(alice, "Put away")).to_be_visible()


def test_a_press_on_the_list_counts_though_the_list_changes_meanwhile(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    site.finished(alice.name, "Press here")
    other = site.finished(alice.name, "Something else")["conversation"]["id"]
    alice.sign_in(f"/c/{other}")
    row(alice, "Press here").hover()
    place = row(alice, "Press here").get_by_role("button").bounding_box()
    assert place is not None
    alice.page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    alice.page.mouse.down()
    site.patch(f"/conversations/{other}", alice.name, {"title": "Renamed meanwhile"})
    site.finished(alice.name, "Something new")
    # The feed events have reached the page when the heading shows the last of them.
    site.patch(f"/conversations/{other}", alice.name, {"title": "Renamed again"})
    expect(alice.page.get_by_role("heading", name="Renamed again")).to_be_visible()
    alice.page.mouse.up()
    expect(alice.page.get_by_role("menuitem", name="Rename")).to_be_visible()
    expect(row(alice, "Renamed again")).to_be_visible()
    expect(row(alice, "Something new")).to_be_visible()


def test_the_list_that_was_chosen_last_is_shown_though_the_other_one_arrives_later(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    gone = site.finished(alice.name, "Put away")["conversation"]["id"]
    site.patch(f"/conversations/{gone}", alice.name, {"archived": True})
    kept = site.finished(alice.name, "In use")["conversation"]["id"]
    alice.sign_in()
    held: list[Route] = []
    alice.page.route(re.compile(r"/conversations\?.*archived=true"), lambda route: held.append(route))
    alice.page.get_by_role("button", name=re.compile("Account and settings")).click()
    alice.page.get_by_role("menuitem", name="Archived conversations").click()
    alice.page.get_by_role("button", name="Remove the filter: Archived").click()
    expect(row(alice, "In use")).to_be_visible()
    alice.until(lambda: held, "the archived conversations are requested")
    with alice.page.expect_response(re.compile("archived=true")):
        held[0].continue_()
    # A list that had changed to the archived conversations would not show the new name.
    site.patch(f"/conversations/{kept}", alice.name, {"title": "Still in use"})
    expect(row(alice, "Still in use")).to_be_visible()
    expect(row(alice, "Put away")).to_have_count(0)


def test_a_conversation_that_changes_while_it_is_fetched_is_fetched_again(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    conversation = site.finished(alice.name, "Put away")["conversation"]["id"]
    site.patch(f"/conversations/{conversation}", alice.name, {"archived": True})
    alice.sign_in()
    expect(alice.page.get_by_text("Your conversations will be here.")).to_be_visible()
    held: list[tuple[Route, APIResponse]] = []
    address = re.compile(rf"/conversations/{conversation}$")
    alice.page.route(address, lambda route: route.continue_() if held else held.append((route, route.fetch())))
    body = {"message": "And now?", "conversation_id": conversation, "model": "offline-fast"}
    site.post("/generations", alice.name, body)
    alice.until(lambda: held, "the page fetches the conversation, which is archived yet")
    site.patch(f"/conversations/{conversation}", alice.name, {"archived": False})
    site.finished(alice.name, "Something newer")
    expect(row(alice, "Something newer")).to_be_visible()
    route, response = held[0]
    route.fulfill(response=response)
    expect(row(alice, "Put away")).to_be_visible()


def test_searching(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    site.finished(alice.name, "About glaciers")
    site.finished(alice.name, "About volcanoes")
    alice.sign_in()
    expect(row(alice, "glaciers")).to_be_visible()
    alice.page.keyboard.press("Control+k")
    alice.page.keyboard.type("volcan")
    expect(row(alice, "glaciers")).to_have_count(0)
    expect(row(alice, "volcanoes").first).to_be_visible()
    alice.page.keyboard.press("Escape")
    expect(row(alice, "glaciers")).to_be_visible()


def test_saving_a_conversation_as_a_file(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    site.finished(alice.name, "Keep this")
    alice.sign_in()
    expect(row(alice, "Keep this")).to_be_visible()
    with alice.page.expect_download() as download:
        choose(alice, "Keep this", "Save as Markdown")
    assert "Keep this" in download.value.path().read_text()


# --- tabs --------------------------------------------------------------------------------------------------------


def test_two_tabs_show_the_same_answer_over_one_connection(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.is_told()
    other = alice.tab()
    streams: list[str] = []
    other.on("request", lambda request: streams.append(request.url) if request.url.endswith("/stream") else None)
    other.goto(alice.page.url)
    answer = other.get_by_role("article", name="Answer").last
    expect(answer).to_have_attribute("aria-busy", "true")
    site.enough()
    alice.is_answered()
    expect(answer).to_have_attribute("aria-busy", "false")
    alice.until(lambda: answer.locator(".body").inner_text() == alice.shown(), "both show the same")
    assert streams == []


def test_when_the_reading_tab_is_closed_the_next_one_reads_on(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.is_told()
    first, alice.page = alice.page, alice.tab()
    alice.page.goto(first.url)
    alice.has_grown()
    first.close()
    alice.has_grown(len(alice.shown()) + 100)
    site.enough()
    alice.is_answered()
    answer = site.messages(alice.conversation, alice.name)[-1]
    assert answer["status"] == "completed"
    is_shown_again(alice)


def test_what_is_said_in_one_tab_appears_in_the_other(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    conversation = site.finished(alice.name, "Hello")["conversation"]["id"]
    alice.sign_in(f"/c/{conversation}")
    other = alice.tab()
    other.goto(alice.page.url)
    expect(other.get_by_label("You wrote")).to_have_count(1)
    alice.send("From the first tab")
    expect(other.get_by_label("You wrote").get_by_text("From the first tab")).to_be_visible()
    alice.is_answered()
    expect(other.get_by_role("article", name="Answer").last).to_have_attribute("aria-busy", "false")


# --- drafts ------------------------------------------------------------------------------------------------------


def test_drafts_belong_to_their_conversation_and_survive_a_refresh(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    conversation = site.finished(alice.name, "Hello")["conversation"]["id"]
    alice.sign_in(f"/c/{conversation}")
    alice.box.fill("half a thought")
    alice.page.get_by_role("link", name="New chat").click()
    expect(alice.box).to_have_value("")
    alice.page.go_back()
    expect(alice.box).to_have_value("half a thought")
    alice.page.reload()
    expect(alice.box).to_have_value("half a thought")


def test_a_refused_message_comes_back_with_the_reason(visit: Visit) -> None:
    alice = visit()
    alice.page.route("**/api/v1/generations", lambda route: route.fulfill(
        status=409, content_type="application/problem+json", body='{"detail": "An answer is still being generated."}'
    ))  # fmt: skip
    alice.send("too early")
    expect(alice.page.get_by_role("alert")).to_have_text("An answer is still being generated.")
    expect(alice.box).to_have_value("too early")
    expect(alice.page.get_by_label("You wrote")).to_have_count(0)


def test_a_message_whose_acknowledgement_got_lost_is_sent_once(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    alice.sign_in("/m/offline-fast/new")
    lost: list[str] = []

    def lose(route: object) -> None:
        lost.append("once")
        if len(lost) == 1:
            route.fetch()  # type: ignore[attr-defined]  # the server gets it
            route.abort("connectionreset")  # type: ignore[attr-defined]  # the page does not hear of it
        else:
            route.fallback()  # type: ignore[attr-defined]

    alice.page.route("**/api/v1/generations", lose)
    alice.send("Only once")
    alice.is_answered()
    assert len(site.get("/conversations", alice.name)["items"]) == 1
    assert [each["role"] for each in site.messages(alice.conversation, alice.name)] == ["user", "assistant"]


# --- in and out --------------------------------------------------------------------------------------------------


def test_a_visitor_sees_how_to_sign_in_and_leaves_nothing(visit: Visit) -> None:
    alice = visit(signed_in=False)
    alice.go("/new")
    expect(alice.door).to_be_visible()
    alice.picture("door")
    assert alice.stored() == {}
    # The link is opened in another tab; this one notices it.
    alice.use_link(alice.tab())
    expect(alice.box).to_be_visible()
    assert alice.path == "/new"


def test_nothing_that_is_kept_in_the_browser_is_a_secret(visit: Visit, site: Site) -> None:
    alice = visit()
    cookie = next(cookie for cookie in alice.context.cookies() if cookie["name"] == "session")
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"
    kept = alice.stored()
    assert not any(cookie["value"] in value or value.startswith("eyJ") for value in kept.values())
    for value in kept.values():
        request = Request(f"{site.url}/api/v1/me", headers={"Authorization": f"Bearer {value}"})
        with pytest.raises(HTTPError, match="401"):
            urlopen(request, timeout=30)


def test_signing_out_leaves_nothing_in_any_tab(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    site.finished(alice.name, "a private matter")
    alice.sign_in()
    row(alice, "a private matter").get_by_role("link").click()
    expect(alice.answer).to_be_visible()
    alice.box.fill("an unsent secret")
    other = alice.tab()
    other.goto(site.url + "/new")
    expect(other.get_by_role("textbox", name="Message", exact=True)).to_be_visible()
    assert alice.stored()
    alice.page.get_by_role("button", name=re.compile("Account and settings")).click()
    alice.page.get_by_role("menuitem", name="Sign out").click()
    for page in (alice.page, other):
        expect(door_of(page)).to_be_visible()
        assert page.evaluate("localStorage.length + sessionStorage.length") == 0
        assert page.evaluate("indexedDB.databases().then((all) => all.length)") == 0
        assert page.evaluate("caches.keys().then((all) => all.length)") == 0
        assert "private matter" not in page.content()
    assert [cookie for cookie in alice.context.cookies() if cookie["value"]] == []
    alice.page.go_back()
    expect(alice.door).to_be_visible()


ENDED = "Your session has ended"


def test_an_ended_session_is_told_over_the_page_and_the_draft_stays(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    conversation = site.finished(alice.name, "a private matter")["conversation"]["id"]
    alice.sign_in(f"/c/{conversation}", ttl=12)
    alice.box.fill("an unsent thought")
    dialog = alice.page.get_by_role("dialog", name=ENDED)
    expect(dialog).to_be_visible()
    expect(alice.answer).to_be_attached()
    alice.page.keyboard.press("Escape")
    alice.page.mouse.click(5, 5)
    expect(dialog).to_be_visible()
    alice.use_link(alice.tab())
    expect(dialog).to_have_count(0)
    expect(alice.box).to_have_value("an unsent thought")
    expect(alice.answer).to_be_visible()
    assert alice.conversation == conversation


def test_the_next_person_at_the_machine_sees_nothing_of_the_one_before(visit: Visit, site: Site) -> None:
    alice = visit("alice", signed_in=False)
    site.finished(alice.name, "a private matter")
    alice.sign_in()
    alice.box.fill("an unsent secret")
    site.end_sessions(alice.name, 0)
    # Any request shows it; the test above has one that ends while nothing is requested.
    alice.page.evaluate("import('/static/api.js').then((api) => api.models()).catch(() => {})")
    expect(alice.page.get_by_role("dialog", name=ENDED)).to_be_visible()
    alice.name = alice.name.replace("alice", "bob")
    alice.enter()
    expect(alice.box).to_have_value("")
    expect(alice.page.get_by_text("Your conversations will be here.")).to_be_visible()
    assert not any("secret" in value for value in alice.stored().values())


def test_a_sign_in_as_somebody_else_in_another_tab_clears_this_one(visit: Visit, site: Site) -> None:
    alice = visit("alice", signed_in=False)
    site.finished(alice.name, "a private matter")
    alice.sign_in()
    alice.box.fill("an unsent secret")
    expect(row(alice, "a private matter")).to_be_visible()
    alice.name = alice.name.replace("alice", "bob")
    alice.use_link(alice.tab())
    expect(alice.page.get_by_text("Your conversations will be here.")).to_be_visible()
    expect(alice.box).to_have_value("")
    assert "private matter" not in alice.page.content()


@pytest.mark.parametrize("names", ["shown", "hidden"])
def test_the_tab_has_the_name_of_the_conversation_unless_the_user_does_not_want_it(
    visit: Visit, site: Site, names: str
) -> None:
    alice = visit(signed_in=False)
    conversation = site.finished(alice.name, "My illness")["conversation"]["id"]
    site.patch(f"/conversations/{conversation}", alice.name, {"title": "About my illness"})
    alice.sign_in()
    expect(alice.page).to_have_title("New chat · Unbroken")
    if names == "hidden":
        alice.page.get_by_role("button", name="Account and settings").click()
        alice.page.get_by_role("menuitemradio", name="Names in tab titles").click()
    row(alice, "About my illness").get_by_role("link").click()
    expect(alice.page.get_by_role("heading", name="About my illness")).to_be_visible()
    title = "About my illness · Unbroken" if names == "shown" else re.compile("^Chat( with offline-fast)? · Unbroken$")
    expect(alice.page).to_have_title(title)


# --- headers -----------------------------------------------------------------------------------------------------


def test_the_page_and_its_modules_are_guarded_and_cached(visit: Visit) -> None:
    alice = visit(signed_in=False)
    shell = alice.page.goto(alice.site.url + "/")
    assert shell is not None
    policy = shell.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert (shell.headers["referrer-policy"], shell.headers["x-content-type-options"]) == ("no-referrer", "nosniff")
    source = alice.page.locator("script[type=module]").get_attribute("src")
    versioned = alice.context.request.get(f"{alice.site.url}{source}")
    assert "immutable" in versioned.headers["cache-control"]
    plain = alice.context.request.get(f"{alice.site.url}/static/stream.js")
    assert plain.headers["cache-control"] == "no-cache"
    again = alice.context.request.get(
        f"{alice.site.url}/static/stream.js", headers={"If-None-Match": plain.headers["etag"]}
    )
    assert again.status == 304
    for missing in ("/static/views.py", "/static/../views.py", "/static/x/stream.js", "/static/"):
        assert alice.context.request.get(alice.site.url + missing).status == 404


# --- keyboard, sizes, looks --------------------------------------------------------------------------------------


def test_everything_works_from_the_keyboard(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    site.finished(alice.name, "First")
    site.finished(alice.name, "Second")
    alice.sign_in()
    expect(alice.box).to_be_focused()
    keys = alice.page.keyboard
    alice.box.press("a")
    keys.press("Shift+Enter")
    keys.type("b")
    expect(alice.box).to_have_value("a\nb")
    alice.box.fill("")
    keys.press("Control+/")
    expect(alice.page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    keys.press("Escape")
    expect(alice.page.get_by_role("dialog")).to_have_count(0)
    row(alice, "Second").get_by_role("link").focus()
    keys.press("ArrowDown")
    expect(row(alice, "First").get_by_role("link")).to_be_focused()
    keys.press("Enter")
    expect(alice.page.get_by_label("You wrote").get_by_text("First")).to_be_visible()
    keys.press("Control+b")
    expect(row(alice, "First")).to_be_hidden()
    keys.press("Control+Shift+O")
    expect(alice.page).to_have_url(re.compile("/new$"))


@pytest.mark.parametrize("size", SIZES)
def test_it_fits_every_screen_in_both_lights(visit: Visit, site: Site, size: str) -> None:
    alice = visit(size=size, signed_in=False)
    conversation = site.finished(alice.name, "Why does the tide come late?")["conversation"]["id"]
    alice.sign_in()
    look(alice, f"new-{size}")
    alice.go(f"/c/{conversation}")
    expect(alice.answer).to_have_attribute("aria-busy", "false")
    look(alice, f"chat-{size}")
    if size != "desk":
        alice.page.get_by_role("button", name="Show conversations").click()
        expect(row(alice, "Why does the tide")).to_be_in_viewport()
        look(alice, f"list-{size}")
        alice.page.keyboard.press("Escape")


def test_everything_one_can_press_has_a_name(visit: Visit, site: Site) -> None:
    alice = visit(signed_in=False)
    conversation = site.finished(alice.name, "Name everything")["conversation"]["id"]
    alice.sign_in(f"/c/{conversation}")
    expect(alice.answer).to_be_visible()
    nameless = alice.page.evaluate(
        """() => [...document.querySelectorAll('button, a[href], input, textarea, select')]
          .filter((node) => !node.getAttribute('aria-label') && !node.textContent.trim() && !node.labels?.length)
          .map((node) => node.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
