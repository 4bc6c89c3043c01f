"""Each wait of the page has a limit, and a refused token does not end a reader that has a new one."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.scripted import Answer, Handler, ScriptedServer, events, poll, status, stream
from tests.browser.test_feed_reader import HELLO, frame
from tests.browser.test_reader import FIRST, REST, TEXT
from tests.stack import until

AUTH = b'data: {"type":"auth","detail":"token expired"}\n\n'


def silent(handler: Handler) -> None:
    """Take the request and send nothing for 60 seconds."""
    handler.linger(60)


def half(handler: Handler) -> None:
    """Send the head of a reply and half its body."""
    handler.head(200, {"Content-Type": "application/json", "Content-Length": "100"})
    handler.send(b'{"items": [')
    handler.linger(60)


def tokens(server: ScriptedServer) -> list[str]:
    return [asked.headers["Authorization"].removeprefix("Bearer ") for asked in server.asked]


# --- a new token ---

READ = """
async ({tokens}) => {
  const {follow} = await import('/static/stream.js');
  let asked = 0;
  const reader = follow({
    url: '/g/g1/stream',
    token: () => tokens[Math.min(asked++, tokens.length - 1)],
    times: {minDelay: 20, maxDelay: 60},
  });
  const late = new Promise((resolve) => setTimeout(() => resolve({reason: 'late'}), 60000));
  const {reason} = await Promise.race([reader.finished, late]);
  reader.stop();
  return {reason, text: reader.transcript.text};
}
"""
REFUSALS = [
    pytest.param(status(401), id="status"),
    pytest.param(stream(events(*FIRST), AUTH, end="broken"), id="event"),
]


@pytest.mark.parametrize("refused", REFUSALS)
def test_a_reader_goes_on_with_the_token_that_came_meanwhile(
    module_page: Page, scripted: ScriptedServer, refused: Answer
) -> None:
    scripted.play(refused, stream(events(*FIRST, *REST)))
    assert module_page.evaluate(READ, {"tokens": ["old", "new"]}) == {"reason": "done", "text": TEXT}
    assert tokens(scripted) == ["old", "new"]


@pytest.mark.parametrize("refused", REFUSALS)
def test_a_reader_whose_token_is_still_the_one_refused_is_signed_out(
    module_page: Page, scripted: ScriptedServer, refused: Answer
) -> None:
    scripted.play(refused)
    assert module_page.evaluate(READ, {"tokens": ["old"]})["reason"] == "signed-out"
    assert tokens(scripted) == ["old"]


FEED = """
async ({tokens, seconds}) => {
  const {Feed} = await import('/static/feed.js');
  let asked = 0;
  const heard = [], out = [], states = [];
  const feed = new Feed({
    address: () => '/feed',
    token: () => tokens[Math.min(asked++, tokens.length - 1)],
    onEvent: (name, {type}, id) => id !== null && heard.push(type),
    onState: (state) => states.push({...state, at: Date.now()}),
    onSignedOut: (token) => out.push(token),
  });
  feed.start();
  for (let n = 0; n < seconds * 50 && !heard.length && !out.length; n += 1)
    await new Promise((resolve) => setTimeout(resolve, 20));
  feed.stop();
  return {heard, out, states};
}
"""
FEED_REFUSALS = [
    pytest.param(status(401), id="status"),
    pytest.param(stream(HELLO, AUTH, end="broken"), id="event"),
]


@pytest.mark.parametrize("refused", FEED_REFUSALS)
def test_a_feed_goes_on_with_the_token_that_came_meanwhile(
    module_page: Page, scripted: ScriptedServer, refused: Answer
) -> None:
    scripted.play(refused, stream(HELLO, frame("message.new", 5), end="open"))
    told = module_page.evaluate(FEED, {"tokens": ["old", "new"], "seconds": 60})
    assert (told["heard"], told["out"]) == (["message.new"], [])
    assert tokens(scripted) == ["old", "new"]


def test_a_server_that_refuses_every_new_token_is_asked_with_pauses(
    module_page: Page, scripted: ScriptedServer
) -> None:
    scripted.play(status(401))
    module_page.evaluate(FEED, {"tokens": [f"token {n}" for n in range(10_000)], "seconds": 4})
    # Seconds of a storm would be hundreds.
    assert 2 <= len(scripted.asked) <= 30


CALL = """
async ({ids}) => {
  localStorage.clear();
  localStorage.setItem('unbroken.session', ids[0]);
  const session = await import('/static/session.js');
  const api = await import('/static/api.js');
  const expired = [];
  session.listen(({type}) => expired.push(type));
  const asking = api.models().then((value) => ({value}), ({status}) => ({status}));
  // As another tab does that signs in while the request is on its way.
  await call('requested');
  localStorage.setItem('unbroken.session', ids.at(-1));
  await call('signed in');
  return {...await asking, expired, kept: localStorage.getItem('unbroken.session')};
}
"""


def test_a_request_is_repeated_in_the_session_that_began_meanwhile(module_page: Page, scripted: ScriptedServer) -> None:
    signed_in = threading.Event()

    def late_401(handler: Handler) -> None:
        assert signed_in.wait(60)
        status(401)(handler)

    scripted.calls["requested"] = lambda: bool(until(lambda: scripted.asked, what="the request"))
    scripted.calls["signed in"] = signed_in.set
    scripted.play(late_401, status(200, {"items": []}))
    told = module_page.evaluate(CALL, {"ids": ["old", "new"]})
    assert told == {"value": {"items": []}, "expired": [], "kept": "new"}
    assert len(scripted.asked) == 2
    signed_in.clear()
    scripted.play(late_401)
    told = module_page.evaluate(CALL, {"ids": ["old"]})
    assert told == {"status": 401, "expired": ["expired"], "kept": None}
    assert len(scripted.asked) == 1


# --- limits of time ---

HURRY = """
() => {
  // Five minutes of the page, its longest limit, are two seconds of this test.
  const timeout = AbortSignal.timeout.bind(AbortSignal);
  AbortSignal.timeout = (ms) => timeout(ms / 150);
}
"""
GIVE_UP = """
async ({call}) => {
  localStorage.setItem('unbroken.session', 's1');
  const api = await import('/static/api.js');
  const {importConversations} = await import('/static/conversations_api.js');
  const calls = {
    read: () => api.models(),
    cancel: () => api.cancel('g1'),
    export: () => api.exportConversation('c1', 'md'),
    import: () => importConversations({}),
  };
  const late = new Promise((resolve) => setTimeout(() => resolve('late'), 25000));
  return Promise.race([late, calls[call]().then(() => 'answered', ({status}) => status)]);
}
"""


@pytest.mark.parametrize("answer", [silent, half])
@pytest.mark.parametrize("call", ["read", "cancel", "export", "import"])
def test_a_request_of_the_page_ends_though_the_server_does_not(
    module_page: Page, scripted: ScriptedServer, call: str, answer: Answer
) -> None:
    scripted.play(answer)
    module_page.evaluate(HURRY)
    assert module_page.evaluate(GIVE_UP, {"call": call}) == 0


CATCH_UP = """
async () => {
  const {SharedConnection} = await import('/static/shared_connection.js');
  const given = {url: '', token: () => 'secret', name: 'held', onEvent: () => {}, onMissed: () => {}};
  const connection = new SharedConnection(given);
  // Ten seconds of the page are one of this test.
  const later = globalThis.setTimeout;
  globalThis.setTimeout = (run, ms = 0, ...rest) => later(run, ms / 10, ...rest);
  const reader = connection.follow('g1', {});
  const late = new Promise((resolve) => later(() => resolve({reason: 'late'}), 60000));
  const {reason} = await Promise.race([reader.finished, late]);
  connection.close();
  return {reason, text: reader.transcript.text};
}
"""


@pytest.mark.parametrize("answer", [silent, half])
def test_a_poll_that_is_held_is_given_up_and_repeated(
    module_page: Page, scripted: ScriptedServer, answer: Answer
) -> None:
    scripted.play(status(500), polls=[answer, poll(*FIRST[1:], *REST)])
    assert module_page.evaluate(CATCH_UP) == {"reason": "done", "text": TEXT}


def test_no_delay_is_longer_than_a_timer_can_hold(module_page: Page) -> None:
    found = module_page.evaluate("""
        async () => {
          const {bounded} = await import('/static/reconnecting_stream.js');
          return [0, -5, NaN, 10, 2 ** 31, 1e300, Infinity].map(bounded);
        }
    """)
    longest = 2**31 - 1
    assert found == [0, 0, 0, 10, longest, longest, longest]


def test_the_body_of_a_poll_and_of_a_refusal_has_a_limit(module_page: Page, scripted: ScriptedServer) -> None:
    def half_refusal(handler: Handler) -> None:
        handler.head(503, {"Content-Type": "application/json", "Content-Length": "100"})
        handler.send(b"{")
        handler.linger(60)

    scripted.play(half_refusal, stream(events(*FIRST, *REST)))
    told: Any = module_page.evaluate(READ.replace("maxDelay: 60", "maxDelay: 60, body: 500"), {"tokens": ["secret"]})
    assert told == {"reason": "done", "text": TEXT}


LEAVE = """
async ({stuck}) => {
  if (stuck) {
    const never = () => new Promise(() => {});
    indexedDB.databases = never;
    caches.keys = never;
  }
  const {leave} = await import('/static/leaving.js');
  leave();
}
"""


@pytest.mark.parametrize("stuck", [False, True])
def test_signing_out_is_repeated_and_waits_for_no_store_of_the_browser(
    module_page: Page, scripted: ScriptedServer, stuck: bool
) -> None:
    scripted.play(status(503), status(502), status(200, {"next": "/elsewhere"}))
    module_page.evaluate(LEAVE, {"stuck": stuck})
    module_page.wait_for_url("**/elsewhere")
    # The browser may ask for an icon of the page, too.
    assert [asked.method for asked in scripted.asked][:4] == ["POST"] * 3 + ["GET"]


def cleared(handler: Handler) -> None:
    """The reply to a sign-out: the browser empties its storage before the body comes."""
    body = b'{"next": "/elsewhere"}'
    length = {"Content-Length": str(len(body)), "Content-Type": "application/json"}
    handler.head(200, {"Clear-Site-Data": '"storage"', **length})
    time.sleep(1)
    handler.send(body)


def test_a_page_goes_where_the_reply_says_though_its_storage_is_emptied_first(
    module_page: Page, scripted: ScriptedServer
) -> None:
    scripted.play(cleared, status(200))
    module_page.evaluate("() => localStorage.setItem('unbroken.user', 'u1')")
    module_page.evaluate(LEAVE, {"stuck": False})
    module_page.wait_for_url("**/elsewhere")


def test_a_page_leaves_though_nobody_could_end_the_session(module_page: Page, scripted: ScriptedServer) -> None:
    scripted.play(status(503), status(503), status(503), status(200))
    module_page.evaluate(LEAVE, {"stuck": False})
    module_page.wait_for_url(re.compile("/$"))
    assert [asked.path for asked in scripted.asked][:4] == ["/signout"] * 3 + ["/"]
