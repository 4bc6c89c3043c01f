"""A shared connection in Chromium, against a server that follows a script. Virtual time: tests/browser/node.

Two connections in one page are like two tabs: a message of a BroadcastChannel reaches all others of its name.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from playwright.sync_api import Page

from tests.browser.scripted import ScriptedServer, events, poll, status, stream
from tests.browser.test_feed_reader import HELLO, frame
from tests.browser.test_reader import DONE, FIRST, HEL, LO, SEA, START, TEXT

BEGUN = ("1-0", START), ("1-1", HEL), ("1-2", LO)
GENERATION = {"id": "g1", "status": "completed", "content": "All of it", "events": []}

TOOLS = """
async () => {
  const {SharedConnection} = await import('/static/shared_connection.js');
  const {startAnswer} = await import('/static/answer_start.js');
  globalThis.startAnswer = startAnswer;
  globalThis.pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  globalThis.until = async (condition) => {
    for (let n = 0; n < 3000 && !condition(); n += 1) await pause(20);
    return condition();
  };
  globalThis.connect = (name, options = {}) => {
    const heard = [], missed = [], states = [];
    const connection = new SharedConnection({
      url: '',
      token: () => 'secret',
      name,
      onEvent: ({type, n, connections}) => heard.push(type + (n ?? connections)),
      onMissed: () => missed.push(heard.length),
      onState: ({name, reason}) => states.push(reason ?? name),
      ...options,
    });
    return {connection, heard, missed, states};
  };
  globalThis.read = (connection) => {
    const ids = [];
    const reader = connection.follow('g1', {onEvent: ({id, type}) => ids.push(id ?? type)});
    return {reader, ids};
  };
}
"""


@pytest.fixture
def page(module_page: Page) -> Page:
    module_page.evaluate(TOOLS)
    return module_page


def carried(cursor: str, event: dict[str, Any], generation: str = "g1") -> bytes:
    """An event of an answer as the feed carries it."""
    return (
        b"event: generation.event\ndata: "
        + orjson.dumps({"generation_id": generation, "cursor": cursor, **event})
        + b"\n\n"
    )


def feeds(server: ScriptedServer) -> list[str]:
    return [asked.path for asked in server.asked if asked.path.startswith("/feed")]


# --- tabs ---

TWO = """
async () => {
  const one = connect('a'), other = connect('a');
  one.connection.begin(4);
  await until(() => one.connection.live);
  other.connection.begin(4);
  const first = read(one.connection), second = read(other.connection);
  await until(() => first.ids.length >= 3 && second.ids.length >= 3 && other.heard.length);
  one.connection.close();
  const {reason, transcript} = await second.reader.finished;
  await until(() => other.heard.length >= 2);
  other.connection.close();
  first.reader.stop();
  return {one: one.heard, other: other.heard, ids: second.ids, reason, text: transcript.text};
}
"""


def test_tabs_share_one_connection_and_the_next_one_goes_on_behind_every_cursor(
    page: Page, scripted: ScriptedServer
) -> None:
    first = stream(HELLO, frame("message.new", 5), *(carried(*event) for event in BEGUN), end="open")
    rest = stream(HELLO, carried("1-3", SEA), carried("1-4", DONE), frame("message.new", 6), end="open")
    scripted.play(first, rest, polls=[poll(*BEGUN)])
    told = page.evaluate(TWO)
    assert (told["ids"], told["reason"], told["text"]) == (["1-0", "1-1", "1-2", "1-3", "1-4"], "done", TEXT)
    assert (told["one"], told["other"]) == (["message.new5"], ["message.new5", "message.new6"])
    assert feeds(scripted) == ["/feed?from_seq=4&generations=live", "/feed?from_seq=5&generations=live&after=g1:1-2"]


APART = """
async () => {
  const one = connect('sign-in 1'), other = connect('sign-in 2');
  one.connection.begin(4);
  await until(() => one.heard.length);
  other.connection.begin(4);
  await until(() => other.heard.length);
  // The second one signs in again, in the session of the first one.
  other.connection.rename('sign-in 1');
  await until(() => other.connection.live);
  const heard = [one.heard, other.heard];
  one.connection.close();
  other.connection.close();
  return heard;
}
"""


def test_two_sign_ins_share_nothing(page: Page, scripted: ScriptedServer) -> None:
    scripted.play(
        stream(HELLO, frame("message.new", 5), end="open"), stream(HELLO, frame("message.updated", 5), end="open")
    )
    assert page.evaluate(APART) == [["message.new5"], ["message.updated5"]]
    assert len(feeds(scripted)) == 2


ANOTHER = """
async () => {
  const {connection, heard, states} = connect('a', {user: 'alice'});
  connection.begin(4);
  await until(() => states.includes('another user') || heard.length);
  connection.close();
  return {heard, states};
}
"""


def test_a_connection_of_another_user_is_not_read(page: Page, scripted: ScriptedServer) -> None:
    hello = frame("connection.established", user_id="bob")
    scripted.play(stream(hello, frame("message.new", 5), end="open"))
    told = page.evaluate(ANOTHER)
    assert (told["heard"], told["states"][-1]) == ([], "another user")
    hello = frame("connection.established", user_id="alice")
    scripted.play(stream(hello, frame("message.new", 5), end="open"))
    assert page.evaluate(ANOTHER)["heard"] == ["message.new5"]


# --- answers ---

ONE = """
async () => {
  const {connection} = connect('a');
  const {reader, ids} = read(connection);
  await until(() => ids.length || reader.cursor !== '0-0');
  connection.begin(4);
  const {reason, transcript} = await Promise.race([reader.finished, pause(60_000).then(() => ({reason: 'late'}))]);
  connection.close();
  return {reason, ids, text: transcript?.text};
}
"""


def test_positions_that_are_refused_are_not_named_again(page: Page, scripted: ScriptedServer) -> None:
    whole = [carried(*event) for event in (*BEGUN, ("1-3", SEA), ("1-4", DONE))]
    scripted.play(status(400), stream(HELLO, *whole, end="open"), polls=[poll(*BEGUN)])
    told = page.evaluate(ONE)
    assert (told["ids"], told["text"]) == (["1-0", "1-1", "1-2", "1-3", "1-4"], TEXT)
    assert [path.partition("&after=")[2] for path in feeds(scripted)] == ["g1:1-2", ""]


def test_a_hole_is_filled_by_a_poll(page: Page, scripted: ScriptedServer) -> None:
    polls = [poll(*BEGUN[:1]), poll(*BEGUN[1:], ("1-3", SEA))]
    scripted.play(stream(HELLO, carried("1-4", DONE), end="open"), polls=polls)
    told = page.evaluate(ONE)
    assert (told["reason"], told["ids"], told["text"]) == ("done", ["1-0", "1-1", "1-2", "1-3", "1-4"], TEXT)


def test_without_the_connection_an_answer_is_polled_to_its_end(page: Page, scripted: ScriptedServer) -> None:
    scripted.play(status(404), polls=[poll(*BEGUN), poll(("1-3", SEA), ("1-4", DONE))])
    told = page.evaluate(ONE)
    assert (told["reason"], told["text"]) == ("done", TEXT)


def test_a_text_that_differs_from_the_servers_is_replaced(page: Page, scripted: ScriptedServer) -> None:
    scripted.play(status(200, GENERATION), polls=[poll(*BEGUN[:2], ("1-2", DONE), state="completed")])
    told = page.evaluate(ONE)
    assert (told["reason"], told["ids"][-1], told["text"]) == ("done", "final", "All of it")


def test_what_has_ended_and_has_no_events_left_comes_whole(page: Page, scripted: ScriptedServer) -> None:
    scripted.play(status(404), polls=[status(200, GENERATION)])
    told = page.evaluate(ONE)
    assert (told["reason"], told["ids"], told["text"]) == ("done", ["final"], "All of it")


def test_an_answer_of_another_user_ends_the_reader(page: Page, scripted: ScriptedServer) -> None:
    scripted.play(status(404))
    assert page.evaluate(ONE.replace("await until(() => ids", "if (0) await until(() => ids"))["reason"] == "refused"


BEGIN = """
async () => {
  const {connection} = connect('a');
  const seen = [];
  const body = {message: 'Hello', client_msg_id: 'key'};
  const reader = startAnswer(connection, {body, onEvent: ({type}) => seen.push(type)});
  const {reason, status} = await reader.finished;
  connection.close();
  return {reason, status, seen};
}
"""


def test_a_message_is_posted_with_its_key_until_it_is_accepted(page: Page, scripted: ScriptedServer) -> None:
    accepted = {"generation": {"id": "g1", "conversation_id": "c1", "message_id": "m2", "status": "queued"}}
    scripted.play(status(503), status(201, accepted), polls=[status(200, GENERATION)])
    assert page.evaluate(BEGIN) == {"reason": "done", "status": None, "seen": ["open", "final"]}
    posts = [asked for asked in scripted.asked if asked.method == "POST"]
    assert [(asked.path, orjson.loads(asked.body)["client_msg_id"]) for asked in posts] == [("/generations", "key")] * 2


def test_a_message_that_is_refused_is_not_posted_again(page: Page, scripted: ScriptedServer) -> None:
    scripted.play(status(422, {"detail": "Too long."}))
    assert page.evaluate(BEGIN) == {"reason": "refused", "status": 422, "seen": []}
    assert len(scripted.asked) == 1


# --- presence ---

SHOW = """
async () => {
  const {connection, heard} = connect('a');
  connection.begin(4);
  await until(() => heard.length);
  connection.show(['c1']);
  await until(() => heard.includes('message.new6'));
  const count = connection.connections('c1');
  connection.close();
  return {heard, count};
}
"""


def test_a_conversation_that_is_shown_is_named_and_no_event_is_lost_or_repeated(
    page: Page, scripted: ScriptedServer
) -> None:
    presence = frame("presence", conversation_id="c1", connections=2)
    first = stream(HELLO, frame("message.new", 5), end="open")
    scripted.play(first, stream(HELLO, frame("message.new", 5), presence, frame("message.new", 6), end="open"))
    told = page.evaluate(SHOW)
    assert told["count"] == 2
    assert told["heard"] == ["message.new5", "presence2", "message.new6"]
    assert feeds(scripted)[1] == "/feed?from_seq=5&generations=live&presence=c1"


# --- pauses ---

ONLINE = """
async ({kind, event}) => {
  const {follow} = await import('/static/stream.js');
  const {Feed} = await import('/static/feed.js');
  const states = [];
  const onState = ({name}) => states.push(name);
  const given = {url: '/g/g1/stream', token: () => 'secret', onState, onEvent: () => {}, onMissed: () => {}};
  const reader = kind === 'feed' ? new Feed({...given, address: () => '/feed'}) : follow(given);
  reader.start?.();
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
