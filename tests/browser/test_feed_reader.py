"""The changes that a shared connection brings, in Chromium, against a server in trouble."""

from __future__ import annotations

from typing import Any

import orjson
from playwright.sync_api import Page

from tests.browser.scripted import Answer, ScriptedServer, nothing, status, stream

FOLLOW = """
async ({begin, again, wanted}) => {
  const {SharedConnection} = await import('/static/shared_connection.js');
  const heard = [], states = [], missed = [], out = [];
  const feed = new SharedConnection({
    url: '',
    token: () => 'secret',
    name: 'feed',
    onEvent: (event) => heard.push(event.type + (event.n ?? '')),
    onMissed: () => missed.push(heard.length),
    // A connection that opens slowly is `connecting` first.
    onState: ({name}) => name !== 'connecting' && states.push(name),
    onSignedOut: (token) => out.push(token),
  });
  feed.begin(begin);
  const came = () => heard.length >= wanted.heard && missed.length >= wanted.missed && states.at(-1) === wanted.state;
  for (let n = 0; n < 3000 && !came(); n += 1) await new Promise((resolve) => setTimeout(resolve, 20));
  // Whatever came too often has a moment to come.
  await new Promise((resolve) => setTimeout(resolve, 300));
  if (again !== null) feed.begin(again);
  feed.close();
  return {heard, states, missed, out};
}
"""


def frame(name: str, number: int | None = None, **fields: Any) -> bytes:
    """An event as the service writes it; ``message.replay`` is the name of an event that is repeated."""
    body = {"type": "message.new" if name == "message.replay" else name, **fields}
    body |= {"n": number} if number is not None else {}
    numbered = f"\nid: {number}".encode() if number is not None else b""
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(body) + numbered + b"\n\n"


HELLO = frame("connection.established", from_seq=4)


def follow(
    page: Page,
    server: ScriptedServer,
    *answers: Answer,
    again: int | None = None,
    heard: int = 0,
    missed: int = 0,
    state: str = "live",
) -> dict[str, Any]:
    """Follow a feed from after event 4 until so many events, misses and this state have come."""
    server.play(*answers)
    wanted = {"heard": heard, "missed": missed, "state": state}
    told: dict[str, Any] = page.evaluate(FOLLOW, {"begin": 4, "again": again, "wanted": wanted})
    return told


def test_every_event_is_heard_once_and_a_broken_feed_goes_on_from_its_number(
    module_page: Page, scripted: ScriptedServer
) -> None:
    presence = frame("presence", conversation_id="c", connections=2)
    first = stream(HELLO, frame("message.replay", 5), presence, frame("message.new", 6), end="broken")
    second = stream(HELLO, frame("message.replay", 6), frame("message.new", 7), end="open")
    told = follow(module_page, scripted, first, nothing, second, heard=4)
    assert told["heard"] == ["message.new5", "presence", "message.new6", "message.new7"]
    first_asked, *later = [asked.path for asked in scripted.asked]
    assert first_asked == "/feed?from_seq=4&generations=live"
    # A browser itself asks again when a connection it has used before breaks without a word.
    assert len(later) >= 2
    assert {*later} == {"/feed?from_seq=6&generations=live"}
    assert told["states"][0] == told["states"][-1] == "live"
    assert "waiting" in told["states"]


def test_more_was_missed_than_is_repeated(module_page: Page, scripted: ScriptedServer) -> None:
    told = follow(module_page, scripted, stream(HELLO, frame("replay.end", missed=300), end="open"), missed=1)
    assert told["missed"] == [0]


def test_a_list_older_than_the_events_that_came_meanwhile_gets_them_again(
    module_page: Page, scripted: ScriptedServer
) -> None:
    told = follow(module_page, scripted, stream(HELLO, frame("a", 5), frame("b", 6), end="open"), again=5, heard=2)
    assert told["heard"] == ["a5", "b6", "b6"]


def test_a_refusal_and_a_full_server_are_pauses(module_page: Page, scripted: ScriptedServer) -> None:
    assert follow(module_page, scripted, status(404), state="waiting")["states"] == ["waiting"]
    assert len(scripted.asked) == 1
    told = follow(module_page, scripted, status(429, Retry_After="1"), stream(HELLO, end="open"))
    assert told["states"] == ["waiting", "live"]
    assert scripted.asked[1].at - scripted.asked[0].at >= 0.99


def test_an_expired_token_is_reported_and_nothing_is_tried_again(module_page: Page, scripted: ScriptedServer) -> None:
    expired = stream(HELLO, b'data: {"type":"auth","detail":"token expired"}\n\n', end="broken")
    for answer in (status(401), expired):
        told = follow(module_page, scripted, answer, state="stopped")
        assert (told["out"], told["states"][-1]) == (["secret"], "stopped")
        assert len(scripted.asked) == 1
