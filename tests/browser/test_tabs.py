"""Tabs that share a reader: a leading tab that is frozen, closed or ahead costs the others nothing.

``LEADER`` plays the other tab: it holds the lock of a name and posts what a test tells it to post.
"""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
from playwright.sync_api import Page

from tests.browser.scripted import Answer, Handler, ScriptedServer, events, status, stream
from tests.browser.test_feed_reader import HELLO, frame
from tests.browser.test_reader import DONE, FIRST, HEL, LO, REST, SEA, START, TEXT

# A second of the page's timers is a sixtieth of a second, so a leader is silent after a third of a second.
LEADER = """
() => {
  const later = globalThis.setTimeout, again = globalThis.setInterval;
  globalThis.pause = (ms) => new Promise((resolve) => later(resolve, ms));
  globalThis.setInterval = (run, ms, ...rest) => again(run, ms / 60, ...rest);
  globalThis.until = async (condition) => {
    for (let n = 0; n < 1000 && !condition(); n += 1) await pause(20);
    return condition();
  };
  globalThis.leader = async (name, { beats }) => {
    let leave;
    const held = navigator.locks.request(name, () => new Promise((resolve) => (leave = resolve)));
    await until(async () => (await navigator.locks.query()).held.length);
    const channel = new BroadcastChannel(name);
    const timer = beats ? again(() => channel.postMessage({}), 50) : null;
    const gone = () => {
      clearInterval(timer);
      channel.close();
      leave();
      return held;
    };
    return { post: (message) => channel.postMessage(message), gone };
  };
}
"""


@pytest.fixture
def page(module_page: Page) -> Page:
    module_page.evaluate(LEADER)
    return module_page


# --- feeds ---

LISTEN = """
async ({posts, beats, wanted}) => {
  const {Feed} = await import('/static/feed.js');
  const other = await leader('feed', {beats});
  const heard = [], missed = [], states = [];
  const feed = new Feed({
    url: '/feed',
    token: () => 'secret',
    share: 'feed',
    onEvent: ({type, n}) => heard.push(type + n),
    onMissed: () => missed.push(heard.length),
    onState: ({name}) => states.push(name),
  });
  feed.begin(4);
  for (const message of posts) other.post(message);
  await until(() => heard.length + missed.length >= wanted);
  // Time for six silences, and for what came too often.
  await pause(2000);
  feed.stop();
  await other.gone();
  return {heard, missed, states};
}
"""


def posted(number: int) -> dict[str, Any]:
    return {"id": number, "event": {"type": "message.new", "n": number}}


def test_a_listening_tab_hears_each_event_once_and_reports_a_hole(page: Page, scripted: ScriptedServer) -> None:
    scripted.play(status(500))
    posts = [posted(5), posted(6), posted(6), posted(5), posted(9), {"missed": True}, posted(10)]
    told = page.evaluate(LISTEN, {"posts": posts, "beats": True, "wanted": 6})
    assert told["heard"] == ["message.new5", "message.new6", "message.new9", "message.new10"]
    assert told["missed"] == [2, 3]
    assert scripted.asked == [], "the leader beats, so this tab does not read"


def test_a_leader_of_the_feed_that_is_frozen_is_not_waited_for(page: Page, scripted: ScriptedServer) -> None:
    scripted.play(stream(HELLO, frame("message.new", 6), end="open"))
    told = page.evaluate(LISTEN, {"posts": [posted(5)], "beats": False, "wanted": 2})
    assert told["heard"] == ["message.new5", "message.new6"]
    assert [asked.path for asked in scripted.asked] == ["/feed?from_seq=5"]


LEAD = """
async () => {
  const {Feed} = await import('/static/feed.js');
  const posted = [];
  const other = new BroadcastChannel('feed');
  other.onmessage = ({data}) => posted.push(data);
  const given = {url: '/feed', token: () => 'secret', share: 'feed', onEvent: () => {}, onMissed: () => {}};
  const feed = new Feed(given);
  feed.begin(4);
  await until(() => posted.some(({missed}) => missed) && posted.some(({id}) => id === 9));
  feed.stop();
  other.close();
  return posted;
}
"""


def test_a_leading_tab_posts_events_and_what_was_missed(page: Page, scripted: ScriptedServer) -> None:
    scripted.play(stream(HELLO, frame("replay.end", missed=300), frame("message.new", 9), end="open"))
    told = page.evaluate(LEAD)
    assert [each for each in told if "missed" in each or "id" in each] == [{"missed": True}, posted(9)]


ALONE_THEN_LEAD = """
async () => {
  const {Feed} = await import('/static/feed.js');
  const other = await leader('feed', {beats: false});
  const heard = [];
  const onEvent = ({n}) => heard.push(n);
  const feed = new Feed({url: '/feed', token: () => 'secret', share: 'feed', onEvent, onMissed: () => {}});
  feed.begin(4);
  await until(() => heard.length);
  await other.gone();
  await pause(300);
  const free = await navigator.locks.request('feed', {ifAvailable: true}, (lock) => lock !== null);
  feed.stop();
  return {heard, free};
}
"""


def test_a_tab_that_reads_the_feed_alone_keeps_the_lock_when_it_gets_it(page: Page, scripted: ScriptedServer) -> None:
    scripted.play(stream(HELLO, frame("message.new", 5), end="open"))
    assert page.evaluate(ALONE_THEN_LEAD) == {"heard": [5], "free": False}
    assert len(scripted.asked) == 1


# --- answers ---

FOLLOW = """
async ({early, posts, beats}) => {
  const {followTogether} = await import('/static/together.js');
  const other = await leader('unbroken.generation.g1', {beats});
  const reader = followTogether({generationId: 'g1', url: '/g/g1/stream', token: () => 'secret'});
  const asked = () => performance.getEntriesByType('resource').some(({name}) => name.includes('after='));
  for (const message of early) other.post(message);
  if (posts.length) await until(asked);
  for (const message of posts) other.post(message);
  const {reason} = await Promise.race([reader.finished, pause(20_000).then(() => ({reason: 'late'}))]);
  reader.stop();
  await other.gone();
  return {reason, text: reader.transcript.text};
}
"""


def said(*entries: tuple[str | None, dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages of a leader for these events."""
    return [{"event": {"id": cursor, **event}} for cursor, event in entries]


def poll(*entries: tuple[str | None, dict[str, Any]], delay: float = 0.0) -> Answer:
    """The answer of a poll with these events."""
    body = {"status": "running", "events": [{"id": cursor, **event} for cursor, event in entries]}

    def answer(handler: Handler) -> None:
        time.sleep(delay)
        data = orjson.dumps(body)
        handler.head(200, {"Content-Type": "application/json", "Content-Length": str(len(data))})
        handler.send(data)

    return answer


def paths(server: ScriptedServer) -> list[str]:
    return [asked.path for asked in server.asked]


def test_events_posted_during_the_poll_for_the_missed_ones_come_after_them(
    page: Page, scripted: ScriptedServer
) -> None:
    scripted.play(status(500), polls=[poll(("1-0", START), ("1-1", HEL), delay=0.5)])
    posts = said(("1-1", HEL), ("1-2", LO), ("1-3", SEA), ("1-4", DONE))
    assert page.evaluate(FOLLOW, {"early": posts, "posts": [], "beats": True}) == {"reason": "done", "text": TEXT}
    assert paths(scripted) == ["/g/g1?after=0-0"]


def test_a_hole_in_what_the_leader_posts_is_filled_by_a_poll(page: Page, scripted: ScriptedServer) -> None:
    first = poll(("1-0", START))
    scripted.play(status(500), polls=[first, poll(("1-1", HEL), ("1-2", LO))])
    posts = said(("1-3", SEA), ("1-4", DONE))
    assert page.evaluate(FOLLOW, {"early": [], "posts": posts, "beats": True}) == {"reason": "done", "text": TEXT}
    assert paths(scripted) == ["/g/g1?after=0-0", "/g/g1?after=1-0"]


def test_an_end_behind_a_hole_is_read_by_the_tab_itself(page: Page, scripted: ScriptedServer) -> None:
    scripted.play(stream(events(*REST)), polls=[poll(("1-0", START), ("1-1", HEL))])
    posts = [{"end": {"reason": "done"}}]
    # The end is posted when the poll is answered: nothing else ends the wait.
    script = FOLLOW.replace("if (posts.length) await until(asked)", "await until(() => reader.transcript.text)")
    assert page.evaluate(script, {"early": [], "posts": posts, "beats": True}) == {"reason": "done", "text": TEXT}
    assert paths(scripted) == ["/g/g1?after=0-0", "/g/g1/stream"]
    assert scripted.asked[1].headers["Last-Event-ID"] == "1-1"


def test_a_leader_of_an_answer_that_is_frozen_is_not_waited_for(page: Page, scripted: ScriptedServer) -> None:
    scripted.play(stream(events(*REST)), polls=[poll(("1-0", START), ("1-1", HEL))])
    assert page.evaluate(FOLLOW, {"early": [], "posts": [], "beats": False}) == {"reason": "done", "text": TEXT}


def test_a_leader_that_is_signed_out_ends_the_other_tabs(page: Page, scripted: ScriptedServer) -> None:
    scripted.play(status(500), polls=[poll(("1-0", START), ("1-1", HEL))])
    posts = [{"end": {"reason": "signed-out", "status": 401}}]
    told = page.evaluate(FOLLOW, {"early": [], "posts": posts, "beats": True})
    assert told["reason"] == "signed-out"


# --- pauses ---

ONLINE = """
async ({kind, event}) => {
  const {follow} = await import('/static/stream.js');
  const {Feed} = await import('/static/feed.js');
  const states = [];
  const onState = ({name}) => states.push(name);
  const given = {url: '/g/g1/stream', token: () => 'secret', onState, onEvent: () => {}, onMissed: () => {}};
  const reader = kind === 'feed' ? new Feed({...given, share: null}) : follow(given);
  reader.begin?.(4);
  await until(() => states.includes('waiting') || states.includes('offline'));
  if (event) dispatchEvent(new Event('online'));
  else reader.retryNow();
  const live = await until(() => states.includes('live'));
  reader.stop();
  return live;
}
"""


@pytest.mark.parametrize("event", [True, False], ids=["online", "button"])
@pytest.mark.parametrize("kind", ["follow", "feed"])
def test_a_network_that_is_back_ends_the_pause_at_once(
    page: Page, scripted: ScriptedServer, kind: str, event: bool
) -> None:
    first = HELLO if kind == "feed" else events(*FIRST)
    scripted.play(status(503, Retry_After="100"), stream(first, end="open"))
    # Far fewer than a hundred seconds pass.
    assert page.evaluate(ONLINE, {"kind": kind, "event": event})
    assert len(scripted.asked) == 2


EXPIRE = """
async () => {
  const session = await import('/static/session.js');
  const types = [];
  session.listen(({type}) => types.push(type));
  localStorage.setItem('unbroken.session', 'new');
  const old = session.expire({cookie: 'old'});
  const kept = session.proof();
  return {old, kept, current: session.expire({cookie: 'new'}), left: session.proof(), types};
}
"""


def test_only_the_current_session_can_expire(page: Page, scripted: ScriptedServer) -> None:
    told = page.evaluate(EXPIRE)
    assert told == {"old": False, "kept": {"cookie": "new"}, "current": True, "left": None, "types": ["expired"]}
