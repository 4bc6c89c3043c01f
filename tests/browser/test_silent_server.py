"""Each request of the page ends or is repeated though the server never answers it.

``HURRY`` divides the page's own limits by 150: five minutes of the page, its longest limit, are two seconds of a test.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page

from app.web.views import ASSETS
from tests.browser.scripted import Answer, Handler, ScriptedServer, status, stream

HURRY = """
() => {
  const later = globalThis.setTimeout, timeout = AbortSignal.timeout.bind(AbortSignal), request = globalThis.fetch;
  globalThis.seconds = (count) => new Promise((resolve) => later(resolve, count * 1000));
  globalThis.setTimeout = (run, ms = 0, ...rest) => later(run, ms / 150, ...rest);
  AbortSignal.timeout = (ms) => timeout(ms / 150);
  globalThis.requests = 0;
  globalThis.fetch = (...given) => {
    globalThis.requests += 1;
    return request(...given);
  };
}
"""
CALL_ALL = """
async (calls) => {
  localStorage.setItem('unbroken.session', 's1');
  const modules = ['api.js', 'account_api.js', 'conversations_api.js'];
  const api = Object.assign({}, ...(await Promise.all(modules.map((name) => import(`/static/${name}`)))));
  const outcome = (call) => call.then(() => 'answered', ({status, message}) => status ?? message);
  const results = Object.entries(calls).map(async ([name, given]) => {
    const late = seconds(40).then(() => 'late');
    return [name, await Promise.race([late, outcome(api[name](...given))])];
  });
  return Object.fromEntries(await Promise.all(results));
}
"""
FUNCTIONS = """
async () => {
  const modules = ['api.js', 'account_api.js', 'conversations_api.js'];
  return (await Promise.all(modules.map((name) => import(`/static/${name}`)))).flatMap(Object.keys);
}
"""
CALLS: dict[str, list[Any]] = {
    "me": [],
    "models": [],
    "usage": [{"days": 7}],
    "search": ["rain"],
    "conversations": [],
    "conversation": ["c1"],
    "generation": ["g1"],
    "messages": ["c1"],
    "change": ["c1", {"title": "new"}],
    "remove": ["c1"],
    "cancel": ["g1"],
    "regenerate": ["m1", {}],
    "goOn": ["m1", {}],
    "edit": ["m1", {}],
    "fileContent": ["f1"],
    "fileThumbnail": ["f1"],
    "fileAbout": ["f1"],
    "exportConversation": ["c1", "md"],
    "exportArchive": [None],
    "importConversations": [{}],
    "markSeen": ["c1"],
    "shareOf": ["c1"],
    "share": ["c1", None],
    "endShare": ["c1"],
    "rate": ["m1", 1, None],
    "sessions": [],
    "endSession": ["s2"],
    "endSessions": [],
    "keys": [],
    "makeKey": [{"name": "k"}],
    "endKey": ["k1"],
    "activity": [],
    "erase": [],
    "signOut": [],
}
# Their replies have no body to wait for.
BODILESS = {"remove", "endSession", "endSessions", "endKey", "markSeen", "endShare", "rate"}
# It makes an address and no request.
ADDRESS = "contentPath"


def silent(handler: Handler) -> None:
    """Take the request and send nothing."""
    handler.linger(120)


def half(handler: Handler) -> None:
    """Send the head of an answer and half its body."""
    handler.head(200, {"Content-Type": "application/json", "Content-Length": "100"})
    handler.send(b'{"items": [')
    handler.linger(120)


def half_a_refusal(handler: Handler) -> None:
    """Send the head of a refusal and half its body."""
    handler.head(503, {"Content-Type": "application/json", "Content-Length": "100"})
    handler.send(b'{"detail": ')
    handler.linger(120)


@pytest.mark.parametrize(("answer", "outcome"), [(silent, 0), (half, 0), (half_a_refusal, 503)])
def test_each_function_of_the_api_module_ends(
    module_page: Page, scripted: ScriptedServer, answer: Answer, outcome: int
) -> None:
    scripted.play(answer)
    assert {*module_page.evaluate(FUNCTIONS)} == {*CALLS, ADDRESS}
    module_page.evaluate(HURRY)
    outcomes = module_page.evaluate(CALL_ALL, CALLS)
    # A browser opens six connections to a server; the other requests wait for one.
    wanted = {name: {0, outcome} for name in CALLS}
    if answer is half:
        wanted |= {name: {"answered", 0} for name in BODILESS}
    assert {name: found for name, found in outcomes.items() if found not in wanted[name]} == {}


READ = """
async ({call, options, wanted, token}) => {
  const {follow, begin} = await import('/static/stream.js');
  const {Feed} = await import('/static/feed.js');
  const states = [];
  const given = {
    ...options,
    token: token === 'never' ? () => new Promise(() => {}) : () => 'secret',
    onState: ({name}) => states.push(name),
    onEvent: () => {},
    onMissed: () => {},
  };
  const reader = call === 'feed' ? new Feed({...given, address: () => '/feed'}) : { follow, begin }[call](given);
  reader.start?.();
  const came = () => (token === 'never' ? states.includes('waiting') : globalThis.requests >= wanted);
  for (let n = 0; n < 400 && !came(); n += 1) await seconds(0.05);
  reader.stop();
  return came();
}
"""
SILENT_STREAM = stream(end="open")
FAILED = [status(500)] * 3
GONE = status(204)
# What the server sends, what reads it, and the number of requests that shows that the silent one was given up.
READERS: dict[str, tuple[str, list[Answer], list[Answer], int]] = {
    "stream without a head": ("follow", [silent], [], 2),
    "stream without a byte": ("follow", [SILENT_STREAM], [], 2),
    "stream with half a refusal": ("follow", [half_a_refusal], [], 2),
    "poll without a head": ("follow", FAILED, [silent], 5),
    "poll with half a body": ("follow", FAILED, [half], 5),
    "check of the whole without a head": ("follow", [GONE, silent], [], 3),
    "check of the whole with half a body": ("follow", [GONE, half], [], 3),
    "start without a head": ("begin", [silent], [], 2),
    "start with half a body": ("begin", [half], [], 2),
    "feed without a head": ("feed", [silent], [], 2),
    "feed without a byte": ("feed", [SILENT_STREAM], [], 2),
    "feed with half a refusal": ("feed", [half_a_refusal], [], 2),
}


@pytest.mark.parametrize("case", READERS)
def test_each_reader_gives_a_silent_request_up(module_page: Page, scripted: ScriptedServer, case: str) -> None:
    call, answers, polls, wanted = READERS[case]
    scripted.play(*answers, polls=polls)
    module_page.evaluate(HURRY)
    options = {"url": "/generations" if call == "begin" else "/g/g1/stream", "body": {"message": "Hi"}}
    argument = {"call": call, "options": options, "wanted": wanted, "token": "given"}
    assert module_page.evaluate(READ, argument), f"{len(scripted.asked)} requests"


@pytest.mark.parametrize("call", ["follow", "feed"])
def test_a_token_function_that_never_returns_is_given_up(
    module_page: Page, scripted: ScriptedServer, call: str
) -> None:
    scripted.play(silent)
    module_page.evaluate(HURRY)
    argument = {"call": call, "options": {"url": "/g/g1/stream"}, "wanted": 0, "token": "never"}
    assert module_page.evaluate(READ, argument)
    assert scripted.asked == []


def test_only_these_modules_make_requests() -> None:
    # The tests above cover two of them. The form of a sign-in link makes one request, and the upload of a file is
    # watched, each with a limit of its own.
    request = re.compile(r"(?<![.#\w])fetch\(|XMLHttpRequest|EventSource\(|sendBeacon|WebSocket")
    ours = (name for name in ASSETS if name.endswith(".js") and not name.startswith("packages/"))
    assert [name for name in ours if request.search(ASSETS[name].read().decode())] == [
        "file_transfer.js",
        "link_form.js",
        "reconnecting_stream.js",
        "requests.js",
    ]
