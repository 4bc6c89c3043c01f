"""The checker: rules over client histories, the provider's log and database dumps.

Each rule is a function from evidence to violations. A violation names the generation and shows the shortest excerpt
that proves it. The rules share no code with the service, and read nothing of the service at run time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.chaos import protocols, targets
from tests.chaos.evidence import REQUEST_THREADS, Call, Dump, Evidence, Footprint
from tests.chaos.explain import Excuses
from tests.chaos.history import CLEAN, NO_CONTENT, Frame, Reading, Reply
from tests.chaos.load import TERMINAL, USERS, canary
from tests.chaos.rules import RULES, Violation, rule
from tests.fakes import upstream

Id = tuple[int, int]
# The statuses that a client may receive when all is well, or when a store is away.
EXPECTED = {None, 200, 202, 204, 304, 429, 503}
# A reverse proxy says "not now" with these while no group behind it can be reached.
PROXYS = {502, 504}
# Between a worker's last look at its lease and the provider's first look at the request, in seconds. A loaded machine
# may stop each of the two for a second or more. A call for an answer that had ended before, such as a takeover's, comes
# later: after a lease.
ON_ITS_WAY = 4.5
# A process starts the threads of its pools on demand and keeps them: request threads in a web process, threads that
# wait for Redis in a worker.
WEB_THREADS, WORKER_THREADS = 30, 70
# Connection pools keep the connections that they once needed: 10 to PostgreSQL and 10 more under load; to Redis one for
# each request thread, as many for limits, one for each of 12 reading threads, and one each for the subscriber, the
# probe, the quota of streams and the presence of readers.
POOLED = 10 + 10 + 2 * REQUEST_THREADS + 12 + 4
# The most that a freshly started, idle process holds: descriptors, threads, KiB.
YOUNG = Footprint(60, 30, 140_000)
# The import registers the rules of the module.
__all__ = ["RULES", "Violation", "check", "coverage", "grown", "protocols", "resets", "targets"]
RANK = {"queued": 0, "running": 1, "completed": 2, "error": 2, "cancelled": 2}


def check(evidence: Evidence) -> list[Violation]:
    """Every violation of every rule."""
    return [violation for judge in RULES.values() for violation in judge(evidence)]


def coverage(evidence: Evidence) -> dict[str, int]:
    """The number of times that the run reached each critical place, by the place's name."""
    seen: Counter[str] = Counter()
    for log in evidence.dump.archives.values():
        seen["takeover"] += sum(1 for _, payload in log if _event(payload).get("reason") in ("takeover", "continue"))
    counts = evidence.counts
    seen["fence"] = counts.get("fenced", 0)
    seen["gap"] = counts.get("gap", 0)
    seen["lost"] = counts.get("lost", 0) + counts.get("unopened", 0)
    seen["ambiguous commit"] = counts.get("lost reply of a COMMIT", 0)
    seen["archive"] = sum(1 for r in evidence.history.readings if r.kind.startswith("archive") and _done(r))
    return dict(seen) | targets.coverage(evidence)


# --- the rules of a stream ----------------------------------------------------------------------------------------


@rule
def order(evidence: Evidence) -> Iterator[Violation]:
    """Each event is the successor of the one before: the next of its revision, or the first of a later one."""
    for reading in evidence.history.readings:
        for before, frame in _pairs(reading):
            if not _follows(before, _id(frame.id)):
                yield _about("order", reading, f"after {_show(before)} came {_quote(frame)}")


@rule
def one_meaning(evidence: Evidence) -> Iterator[Violation]:
    """An id has one payload for every reader and poller, in Redis, in checkpoints and in the archive."""
    meanings: dict[tuple[str, str], tuple[bytes, str]] = {}
    for generation, identity, payload, who in _all_events(evidence):
        known = meanings.setdefault((generation, identity), (payload, who))
        if known[0] != payload:
            text = f"{identity} is {_cut(known[0])} for {known[1]}, but {_cut(payload)} for {who}"
            yield Violation("one_meaning", generation, text)


@rule
def archived(evidence: Evidence) -> Iterator[Violation]:
    """Shown events are kept: every id a reader saw is in the archive, unless log and owner were lost together."""
    excuses = Excuses(evidence)
    for reading in evidence.history.readings:
        log = evidence.dump.archives.get(reading.generation)
        if not log:
            continue
        known = {identity for identity, _ in log}
        for frame in reading.frames():
            shown = excuses.seen[reading.generation, frame.id or ""]
            if frame.id not in known and not excuses.cut_short(reading.generation, shown):
                yield _about("archived", reading, f"{_quote(frame)} is not in the archive")
                break


@rule
def ends(evidence: Evidence) -> Iterator[Violation]:
    """A body ends cleanly only after ``done``; no event follows ``done``; only a reader that knows the end gets 204."""
    for reading in evidence.history.readings:
        done = False
        for connection in reading.connections:
            for frame in connection.frames:
                if done and frame.id is not None:
                    yield _about("ends", reading, f"{_quote(frame)} came after done")
                done = done or _event(frame.data).get("type") == "done"
            if connection.end == CLEAN and not done:
                last = connection.frames[-1] if connection.frames else None
                yield _about("ends", reading, f"a clean end without done, after {last and _quote(last)}")
            if connection.end == NO_CONTENT and not done:
                yield from _early_204(evidence, reading, connection.after)


def _early_204(evidence: Evidence, reading: Reading, after: str) -> Iterator[Violation]:
    row = evidence.dump.generations.get(reading.generation)
    if row is None or row["final_n"] is None or _id(after) < (row["final_epoch"], row["final_n"]):
        yield _about("ends", reading, f"204 at {after}, which is not the end")


@rule
def commit_first(evidence: Evidence) -> Iterator[Violation]:
    """``done`` is shown only after the row is committed, and has the status of the row."""
    for looked in evidence.history.committed:
        if looked.status is not None and looked.status not in TERMINAL:
            text = f"a reader was shown done while the row said {looked.status}"
            yield Violation("commit_first", looked.generation, text)
    for reading in evidence.history.readings:
        row = evidence.dump.generations.get(reading.generation)
        for frame in reading.frames():
            event = _event(frame.data)
            if event.get("type") != "done" or row is None:
                continue
            if row["finished_at"] is None or row["finished_at"] > frame.at:
                yield _about("commit_first", reading, f"done at {frame.at:.3f}, committed at {row['finished_at']}")
            if (event["status"], frame.id) != (row["status"], f"{row['final_epoch']}-{row['final_n']}"):
                yield _about("commit_first", reading, f"{_quote(frame)}, but the row says {_final(row)}")


@dataclass(frozen=True)
class Reset:
    """Text that a reader had and that a new revision lacks. ``why``: the faults that explain it, or None."""

    reading: str
    what: str
    why: str | None


@rule
def rewinds(evidence: Evidence) -> Iterator[Violation]:
    """A new revision opens with at least the text that was shown. Faults must explain a shorter text."""
    for reset in resets(evidence):
        if reset.why is None:
            yield Violation("rewinds", reset.reading, reset.what)


def resets(evidence: Evidence) -> list[Reset]:
    """Every reset of a reader: text that was taken back, with the faults that explain it."""
    excuses = Excuses(evidence)
    return [reset for reading in evidence.history.readings for reset in _resets(reading, excuses)]


def _resets(reading: Reading, excuses: Excuses) -> Iterator[Reset]:
    for had, before, frame, event in _snapshots(reading):
        text = event["text"]
        if had is None or text.startswith(had):
            continue
        if not had.startswith(text):
            what = f"{frame.id} ({event['reason']}) opens with another text: {_differ(had, text)}"
        else:
            lost = len(had) - len(text)
            what = f"{frame.id} ({event['reason']}) takes back {lost} characters: …{had[-60:]!r}"
        yield Reset(reading.name, what, _why(reading.generation, before, frame, event, excuses))


def _why(generation: str, before: Frame | None, frame: Frame, event: dict[str, Any], excuses: Excuses) -> str | None:
    """The faults that explain a reset between two consecutive events of a reader."""
    shown = excuses.seen[generation, before.id or ""] if before else frame.at
    times = excuses.revisions(generation, _id(before.id if before else None)[0], _id(frame.id)[0])
    for taken in times:
        if found := excuses.taken_back(generation, shown, taken):
            return found
    if event["reason"] in ("restart", "failover"):
        return next(filter(None, (excuses.restarted(generation, taken) for taken in times)), None)
    return None


@rule
def final_text(evidence: Evidence) -> Iterator[Violation]:
    """The streamed text equals the fetched text and the message, and has the sha256 of ``done``."""
    history, dump = evidence.history, evidence.dump
    for generation, row in dump.generations.items():
        if row["status"] not in TERMINAL:
            continue
        content, fetched = row["content"], history.fetched.get(generation) or {}
        digest = hashlib.sha256(content.encode()).hexdigest()
        if row["sha256"] != digest:
            yield Violation("final_text", generation, f"sha256 in the row is not that of the content {content[-60:]!r}")
        if fetched and (fetched.get("content"), fetched.get("sha256")) != (content, digest):
            yield Violation("final_text", generation, f"fetched: {_differ(content, str(fetched.get('content')))}")
        if generation in history.messages and history.messages[generation] != content:
            yield Violation("final_text", generation, f"the message: {_differ(content, history.messages[generation])}")
        if log := dump.archives.get(generation):
            text = _fold(Frame(0, identity, payload) for identity, payload in log)
            if text != content:
                yield Violation("final_text", generation, f"the archive: {_differ(content, text)}")
    yield from _streamed_texts(evidence)


def _streamed_texts(evidence: Evidence) -> Iterator[Violation]:
    for reading in evidence.history.readings:
        row = evidence.dump.generations.get(reading.generation)
        if row is None or not _done(reading):
            continue
        text = _fold(reading.frames())
        if reading.connections[0].after == "0-0":
            if text != row["content"]:
                yield _about("final_text", reading, f"streamed: {_differ(row['content'], text)}")
        elif not row["content"].endswith(text):
            yield _about("final_text", reading, f"the streamed end: …{text[-80:]!r}, content …{row['content'][-80:]!r}")
        done = _event([*reading.frames()][-1].data)
        if done.get("type") == "done" and done["sha256"] != hashlib.sha256(row["content"].encode()).hexdigest():
            yield _about("final_text", reading, "sha256 in done is not that of the content")


@rule
def provenance(evidence: Evidence) -> Iterator[Violation]:
    """A text is a chain of the answer's provider calls: each call begins where the last one ended."""
    calls = {call.number: call for call in evidence.calls}
    tags = {asked.generation: asked.tag for asked in evidence.history.asked}
    rounds = {asked.generation: bool(asked.wishes.get("tool_call")) for asked in evidence.history.asked}

    def complaint_of(text: str, generation: str) -> str | None:
        tooled = rounds.get(generation, False)
        return _chain(text, calls, tags.get(generation), evidence.allowed.strange, tooled)

    for generation, row in evidence.dump.generations.items():
        if complaint := complaint_of(row["content"], generation):
            yield Violation("provenance", generation, complaint)
    for reading in evidence.history.readings:
        for _, _, frame, event in _snapshots(reading):
            if complaint := complaint_of(event["text"], reading.generation):
                yield _about("provenance", reading, f"{frame.id}: {complaint}")


def _chain(text: str, calls: dict[int, Call], tag: str | None, strange: bool, tooled: bool) -> str | None:
    """The fault in a text's origin, or None. ``tooled``: a call that follows a tool's result begins anew."""
    if strange:
        numbers = {int(call) for call, _ in upstream.TOKEN.findall(text)}
        foreign = {n for n in numbers if n in calls and calls[n].tag != tag}
        return f"tokens of foreign calls {foreign}" if foreign else None
    at, last, used = 0, None, set()
    while at < len(text):
        found = upstream.TOKEN.match(text, at)
        if found is None:
            return f"no token at {at}: {text[max(0, at - 30) : at + 30]!r}"
        call, index = int(found[1]), int(found[2])
        if call not in calls or calls[call].tag != tag:
            return f"{found[0]!r} is of call {call}, which was for {calls[call].tag if call in calls else 'nobody'}"
        if found[0] != upstream.token(call, index):
            return f"{found[0]!r} is not what the provider sent"
        if last is None:
            fits = index == 0
        elif last[0] == call:
            fits = index == last[1] + 1
        else:
            continues = index == last[1] + 1 == calls[call].first_index
            fits = call not in used and (continues or (tooled and index == 0 == calls[call].first_index))
        if not fits:
            return f"after {last} came {(call, index)}: {text[max(0, at - 30) : at + 30]!r}"
        last, at = (call, index), found.end()
        used.add(call)
    return None


# --- the rules of requests ----------------------------------------------------------------------------------------


@rule
def acknowledged(evidence: Evidence) -> Iterator[Violation]:
    """A message accepted with 2xx exists once, any other at most once; a repeated request finds the first."""
    rows: dict[str, list[str]] = defaultdict(list)
    for generation, row in evidence.dump.generations.items():
        if found := re.match(r"message-\d+-\d+(?= )", row["message"]):
            rows[found[0]].append(generation)
    for asked in evidence.history.asked:
        named = {reply.body["generation"]["id"] for reply in asked.replies if reply.status in (200, 202)}
        if len(named) > 1:
            yield Violation("acknowledged", asked.tag, f"one key led to {sorted(named)}")
        if named and rows[asked.tag] != [*named]:
            yield Violation("acknowledged", asked.tag, f"2xx for {named}, but stored are {rows[asked.tag]}")
        if len(rows[asked.tag]) > 1:
            yield Violation("acknowledged", asked.tag, f"stored {len(rows[asked.tag])} times")


@rule
def answers(evidence: Evidence) -> Iterator[Violation]:
    """Every reply is a success or a "not now" (429, 503; of a reverse proxy also 502 and 504)."""
    history = evidence.history
    expected = EXPECTED | PROXYS if evidence.allowed.proxied else EXPECTED
    replies = [
        *((asked.tag, reply) for asked in history.asked for reply in asked.replies),
        *((polling.name, reply) for polling in history.pollings for reply in polling.replies),
        *((f"cancel of {c.generation[-6:]}", reply) for c in history.cancellings for reply in c.replies),
    ]
    for who, reply in replies:
        if reply.status not in expected:
            yield Violation("answers", who, f"{reply.status}: {_cut(json.dumps(reply.body).encode())}")
    for reading in history.readings:
        for connection in reading.connections:
            if connection.status not in expected:
                yield _about("answers", reading, f"{connection.status} at {connection.after}")


@rule
def polls(evidence: Evidence) -> Iterator[Violation]:
    """A poller's position, status and text only grow, except for text that readers may lose too."""
    excuses = Excuses(evidence)
    for polling in evidence.history.pollings:
        seen: Reply | None = None
        for reply in polling.replies:
            if reply.status != 200:
                continue
            complaint = seen and _shrinks(seen.body, reply.body)
            if seen and complaint and not _explained(polling.generation, seen, reply, excuses):
                yield Violation("polls", polling.name, complaint)
            seen = reply
        yield from _polled_events(polling.name, [r.body for r in polling.replies if r.status == 200])


def _shrinks(seen: dict[str, Any], now: dict[str, Any]) -> str | None:
    if RANK[now["status"]] < RANK[seen["status"]] or (seen["status"] in TERMINAL and now["status"] != seen["status"]):
        return f"status {now['status']} after {seen['status']}"
    if _id(now["cursor"]) < _id(seen["cursor"]):
        return f"cursor {now['cursor']} after {seen['cursor']}"
    if now["content"].startswith(seen["content"]):
        return None
    return (
        f"content at {now['cursor']} is not what it was at {seen['cursor']}: {_differ(seen['content'], now['content'])}"
    )


def _explained(generation: str, seen: Reply, now: Reply, excuses: Excuses) -> bool:
    """True when faults explain that a poller's text was taken back. Faults never undo an end."""
    if RANK[now.body["status"]] < RANK[seen.body["status"]] or seen.body["status"] in TERMINAL:
        return False
    epochs = _id(seen.body["cursor"])[0], _id(now.body["cursor"])[0]
    shown = excuses.seen.get((generation, seen.body["cursor"]), seen.at)
    times = [*excuses.revisions(generation, *epochs), now.at]
    return any(excuses.taken_back(generation, shown, at) or excuses.restarted(generation, at) for at in times)


def _polled_events(name: str, bodies: list[dict[str, Any]]) -> Iterator[Violation]:
    before: Id = (0, 0)
    for body in bodies:
        for event in body.get("events") or []:
            if not _follows(before, _id(event["id"])):
                yield Violation("polls", name, f"event {event['id']} after {_show(before)}")
            before = _id(event["id"])


@rule
def cancels(evidence: Evidence) -> Iterator[Violation]:
    """An acknowledged cancel holds. 200: the end stays as in the reply. 202: the generation ends as cancelled."""
    for cancelling in evidence.history.cancellings:
        row = evidence.dump.generations.get(cancelling.generation)
        for reply in cancelling.replies:
            if row is not None and (broken := _broken_cancel(reply, row)):
                yield Violation("cancels", cancelling.generation, broken)


def _broken_cancel(reply: Reply, row: dict[str, Any]) -> str | None:
    """The difference between the reply to a cancel and the row in the end; None without one."""
    if reply.status == 202 and row["status"] != "cancelled":
        return f"202, in the end {row['status']}"
    if reply.status != 200:
        return None
    if reply.body["status"] not in TERMINAL:
        return f"200 with status {reply.body['status']}"
    if row["status"] != reply.body["status"]:
        return f"answered {reply.body['status']}, in the end {row['status']}"
    if row["content"] != reply.body["content"]:
        return f"more text afterwards: {_differ(reply.body['content'], row['content'])}"
    return None


@rule
def isolation(evidence: Evidence) -> Iterator[Violation]:
    """No user sees another user's words, or learns that another user's generation exists."""
    words = {user: canary(user).encode() for user in USERS}
    for reading in [*evidence.history.readings, *evidence.history.translations, *evidence.history.feeds]:
        for connection in reading.connections:
            for frame in connection.frames:
                for other, word in words.items():
                    if other != reading.user and word in frame.data:
                        yield _about("isolation", reading, f"{_quote(frame)} holds the canary of {other}")
    for reply in evidence.history.foreign:
        if reply.status != 404:
            yield Violation("isolation", "a stranger", f"was answered {reply.status}: {_cut(str(reply.body).encode())}")


# --- the rules of the end -----------------------------------------------------------------------------------------


@rule
def liveness(evidence: Evidence) -> Iterator[Violation]:
    """After healing every generation ends, and every reader receives the end."""
    for generation, row in evidence.dump.generations.items():
        if row["status"] not in TERMINAL:
            yield Violation(
                "liveness", generation, f"still {row['status']} (epoch {row['epoch']}, tries {row['tries']})"
            )
    for asked in evidence.history.asked:
        if asked.generation is None:
            yield Violation("liveness", asked.tag, f"was never accepted: {[r.status for r in asked.replies][-5:]}")
    for reading in evidence.history.readings:
        if not reading.finished:
            ends = [f"{c.after}:{c.status}:{c.end}" for c in reading.connections][-4:]
            yield _about("liveness", reading, f"was not told the end; its last connections: {ends}")


@rule
def endings(evidence: Evidence) -> Iterator[Violation]:
    """Without a cancel an answer is completed. An error needs faults that used up its tries, or a failed provider."""
    excuses = Excuses(evidence)
    cancelled = {c.generation for c in evidence.history.cancellings}
    for generation, row in evidence.dump.generations.items():
        wanted = {"completed"} | ({"cancelled"} if generation in cancelled else set())
        wanted |= {"error"} if row["status"] == "error" and excuses.failed(generation) else set()
        if row["status"] in TERMINAL and row["status"] not in wanted:
            yield Violation("endings", generation, f"ended as {row['status']}: {row['error']}")
        if row["status"] in TERMINAL and row["message_status"] != row["status"]:
            yield Violation("endings", generation, f"the row says {row['status']}, its message {row['message_status']}")


@rule
def provider_calls(evidence: Evidence) -> Iterator[Violation]:
    """The provider gets no more calls than faults explain, and none for an answer that is complete."""
    excuses = Excuses(evidence)
    by_tag = defaultdict(list)
    for call in evidence.calls:
        by_tag[call.tag].append(call)
    for asked in evidence.history.asked:
        calls = by_tag[asked.tag]
        row = evidence.dump.generations.get(asked.generation or "")
        if len(calls) > (most := excuses.calls(asked)):
            text = f"{len(calls)} calls, {most} are explained: {[(c.number, c.end) for c in calls]}"
            yield Violation("provider_calls", asked.tag, text)
        # A call that was on its way when the answer was cancelled arrives after its end.
        end = row["finished_at"] if row else None
        late = [c.number for c in calls if end and c.started > excuses.arrival(end) + ON_ITS_WAY]
        if late:
            yield Violation("provider_calls", asked.tag, f"calls {late} began after the end")


@rule
def processes(evidence: Evidence) -> Iterator[Violation]:
    """A process ends only where the rig ends it."""
    for exit_ in evidence.history.exits:
        yield Violation("processes", exit_.process, f"ended by itself at {exit_.at:.3f}: {exit_.how}")


@rule
def hygiene(evidence: Evidence) -> Iterator[Violation]:
    """Nothing is left over: no endless key, no idle transaction; descriptors, threads and memory are back."""
    dump = evidence.dump
    for key in dump.endless_keys:
        yield Violation("hygiene", key, "has no time to live")
    for idle in dump.idle:
        yield Violation("hygiene", "PostgreSQL", f"idle in transaction: {idle}")
    if not evidence.allowed.footprint:
        return
    yield from grown(dump)
    for generation, log in dump.chunks.items():
        if dump.generations[generation]["status"] in TERMINAL:
            yield Violation("hygiene", generation, f"{len(log)} checkpointed events stay beside the archive")


def grown(dump: Dump) -> Iterator[Violation]:
    """Processes that hold more than before; one that started in this run, more than any process needs."""
    for name, after in dump.after.items():
        before = dump.before.get(name, YOUNG)
        if after.descriptors > before.descriptors + 25:
            yield Violation("hygiene", name, f"{before.descriptors} descriptors before, {after.descriptors} after")
        if after.pooled > POOLED:
            yield Violation("hygiene", name, f"{after.pooled} connections to the stores")
        pools = WEB_THREADS if name.startswith("web") else WORKER_THREADS
        if after.threads > before.threads + pools:
            yield Violation("hygiene", name, f"{before.threads} threads before, {after.threads} after")
        if after.kib > before.kib * 1.5 + 40_000:
            yield Violation("hygiene", name, f"{before.kib} KiB before, {after.kib} after")


# --- helpers ------------------------------------------------------------------------------------------------------


def _about(name: str, reading: Reading, what: str) -> Violation:
    return Violation(name, reading.name, what)


def _id(text: str | None) -> Id:
    epoch, _, n = (text or "0-0").partition("-")
    return int(epoch), int(n)


def _show(identity: Id) -> str:
    return f"{identity[0]}-{identity[1]}"


def _follows(before: Id, after: Id) -> bool:
    return after == (before[0], before[1] + 1) if after[0] == before[0] else after[0] > before[0] and after[1] == 0


def _pairs(reading: Reading) -> Iterator[tuple[Id, Frame]]:
    """Each event with the position before it. The position of the first event is the connection's own cursor."""
    before = _id(reading.connections[0].after) if reading.connections else (0, 0)
    for frame in reading.frames():
        yield before, frame
        before = _id(frame.id)


@cache
def _event(payload: bytes) -> dict[str, Any]:
    try:
        event = json.loads(payload)
    except ValueError:
        return {"type": "unreadable"}
    return event if isinstance(event, dict) else {"type": "unreadable"}


def _done(reading: Reading) -> bool:
    return any(frame.data.startswith(b'{"type":"done"') for frame in reading.frames())


def _fold(frames: Iterable[Frame]) -> str:
    parts: list[str] = []
    for frame in frames:
        event = _event(frame.data)
        if event.get("type") == "snapshot":
            parts = [event["text"]]
        elif event.get("type") == "token":
            parts.append(event["content"])
    return "".join(parts)


def _snapshots(reading: Reading) -> Iterator[tuple[str | None, Frame | None, Frame, dict[str, Any]]]:
    """Each snapshot with the text and the event before it. The text is None for a reader that began in the middle."""
    had: str | None = "" if reading.connections and reading.connections[0].after == "0-0" else None
    before: Frame | None = None
    for frame in reading.frames():
        event = _event(frame.data)
        if event.get("type") == "snapshot":
            yield had, before, frame, event
            had = event["text"]
        elif event.get("type") == "token" and had is not None:
            had += event["content"]
        before = frame


def _all_events(evidence: Evidence) -> Iterator[tuple[str, str, bytes, str]]:
    """Yields (generation, id, payload, observer). The objects that pollers get are encoded in the log's form."""
    for reading in evidence.history.readings:
        for frame in reading.frames():
            yield reading.generation, frame.id or "", frame.data, reading.name
    for polling in evidence.history.pollings:
        for reply in polling.replies:
            for event in (reply.body.get("events") or []) if reply.status == 200 else []:
                payload = {name: value for name, value in event.items() if name != "id"}
                text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
                yield polling.generation, event["id"], text.encode(errors="surrogatepass"), polling.name
    for place in ("redis", "archives", "chunks"):
        for generation, log in getattr(evidence.dump, place).items():
            for identity, payload in log:
                yield generation, identity, payload, place


def _final(row: dict[str, Any]) -> str:
    return f"{row['status']} at {row['final_epoch']}-{row['final_n']}"


def _quote(frame: Frame) -> str:
    return f"{frame.id} {_cut(frame.data)}"


def _cut(payload: bytes) -> str:
    text = payload.decode(errors="replace")
    return text if len(text) <= 140 else f"{text[:90]}…{text[-40:]}"


def _differ(one: str, other: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return (
        f"{len(one)} and {len(other)} characters, different from {at}: {one[at : at + 50]!r} / {other[at : at + 50]!r}"
    )
