"""The judge: reads client histories, the provider's log and database dumps, and nothing of the service at run time.

Each rule is a function from evidence to violations. A violation names the generation and shows the shortest excerpt
that proves it. The rules share no code with what they judge.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.chaos.evidence import Call, Dump, Evidence
from tests.chaos.history import CLEAN, NO_CONTENT, Frame, Reading
from tests.chaos.load import TERMINAL, USERS, canary
from tests.fakes import upstream

Id = tuple[int, int]
# What a client may be answered when all is well, or when a store is away.
EXPECTED = {None, 200, 202, 204, 304, 429, 503}
# Faults that take the log away, and for how long that explains something, in seconds.
LOG_LOSSES = {
    *("redis killed", "redis flushed", "redis shut down", "redis full", "redis disk full", "redis frozen"),
    *("black hole", "connections cut", "replies lost"),
}
LOSS_SECONDS = 15.0
# Between a worker's last look at its lease and the provider's first look at the request, in seconds.
ON_ITS_WAY = 2.0
# A process starts the threads of its pools when it needs them, and keeps them: those of requests in a web process,
# those that wait for Redis in a worker.
WEB_THREADS, WORKER_THREADS = 30, 70
# Pools of connections to the stores keep what they once needed: PostgreSQL's 10, and 10 in a rush; Redis's one for each
# of 16 request threads, as many for limits, one for each of 12 threads that read and ask, and one that listens.
POOLED = 65
RANK = {"queued": 0, "running": 1, "completed": 2, "error": 2, "cancelled": 2}


@dataclass(frozen=True)
class Violation:
    """A broken rule, and what proves it."""

    rule: str
    subject: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}: {self.what}"


Rule = Callable[[Evidence], Iterator[Violation]]
RULES: dict[str, Rule] = {}


def rule(function: Rule) -> Rule:
    RULES[function.__name__] = function
    return function


def check(evidence: Evidence) -> list[Violation]:
    """Every violation of every rule."""
    return [violation for judge in RULES.values() for violation in judge(evidence)]


def coverage(evidence: Evidence) -> dict[str, int]:
    """How often the run came to the places where things go wrong."""
    seen: Counter[str] = Counter()
    for log in evidence.dump.archives.values():
        seen["takeover"] += sum(1 for _, payload in log if _event(payload).get("reason") in ("takeover", "continue"))
    counts = evidence.counts
    seen["fence"] = counts.get("fenced", 0)
    seen["gap"] = counts.get("gap", 0)
    seen["lost"] = counts.get("lost", 0) + counts.get("unopened", 0)
    seen["ambiguous commit"] = counts.get("lost reply of a COMMIT", 0)
    seen["archive"] = sum(1 for r in evidence.history.readings if r.kind.startswith("archive") and _done(r))
    return dict(seen)


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
    """An id means the same to every reader and poller, in Redis, in checkpoints and in the archive."""
    meanings: dict[tuple[str, str], tuple[bytes, str]] = {}
    for generation, identity, payload, who in _all_events(evidence):
        known = meanings.setdefault((generation, identity), (payload, who))
        if known[0] != payload:
            text = f"{identity} is {_cut(known[0])} for {known[1]}, but {_cut(payload)} for {who}"
            yield Violation("one_meaning", generation, text)


@rule
def archived(evidence: Evidence) -> Iterator[Violation]:
    """What was shown is kept: every id a reader saw is in the archive, unless both its places were lost together."""
    if evidence.allowed.rewind:
        return
    excused = _cancelled_without_log(evidence)
    for reading in evidence.history.readings:
        log = evidence.dump.archives.get(reading.generation)
        if log and reading.generation not in excused:
            known = {identity for identity, _ in log}
            for frame in reading.frames():
                if frame.id not in known:
                    yield _about("archived", reading, f"{_quote(frame)} is not in the archive")
                    break


@rule
def ends(evidence: Evidence) -> Iterator[Violation]:
    """A body ends in order only after ``done``; nothing comes after ``done``; 204 is for those who know the end."""
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
    """``done`` is shown only after the row is committed, and never anything but what it says."""
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


@rule
def rewinds(evidence: Evidence) -> Iterator[Violation]:
    """A new revision opens with what was shown, or more. Less only where the faults or the policy allow it."""
    excused = _cancelled_without_log(evidence)
    for reading in evidence.history.readings:
        for had, frame, event in _snapshots(reading):
            text = event["text"]
            if had is None or text.startswith(had):
                continue
            if event["reason"] == "restart" and evidence.allowed.restart:
                continue
            if event["reason"] == "cancel" and reading.generation in excused and had.startswith(text):
                continue
            if evidence.allowed.rewind:
                # Perhaps to another text: what came between may have been seen by nobody here.
                continue
            if not had.startswith(text):
                yield _about(
                    "rewinds", reading, f"{frame.id} ({event['reason']}) opens with another text: {_differ(had, text)}"
                )
            else:
                lost = len(had) - len(text)
                yield _about(
                    "rewinds", reading, f"{frame.id} ({event['reason']}) takes back {lost} characters: …{had[-60:]!r}"
                )


def _cancelled_without_log(evidence: Evidence) -> set[str]:
    """Answers whose cancel came while Redis was lost or out of reach.

    A cancel takes the answer from its worker and waits for nobody: without a log the checkpoints have to do, and what
    the worker alone had in memory is gone with its lease. Allowed until seconds after such a fault was healed, and to a
    cancel only.
    """
    healed = math.inf if evidence.history.healed is None else evidence.history.healed
    losses = [
        (fault.at, max(fault.at, healed) + LOSS_SECONDS)
        for fault in evidence.history.faults
        if fault.kind in LOG_LOSSES
    ]
    found = set()
    for cancelling in evidence.history.cancellings:
        for reply in cancelling.replies:
            if any(lost - 1 <= reply.at <= back for lost, back in losses):
                found.add(cancelling.generation)
    return found


@rule
def final_text(evidence: Evidence) -> Iterator[Violation]:
    """The streamed text is the fetched text, the message, and what sha256 says, byte for byte."""
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
    """Every text is a chain of this answer's provider calls: each begins where the one before was left."""
    calls = {call.number: call for call in evidence.calls}
    tags = {asked.generation: asked.tag for asked in evidence.history.asked}
    for generation, row in evidence.dump.generations.items():
        if complaint := _chain(row["content"], calls, tags.get(generation), evidence.allowed.strange):
            yield Violation("provenance", generation, complaint)
    for reading in evidence.history.readings:
        for _, frame, event in _snapshots(reading):
            if complaint := _chain(event["text"], calls, tags.get(reading.generation), evidence.allowed.strange):
                yield _about("provenance", reading, f"{frame.id}: {complaint}")


def _chain(text: str, calls: dict[int, Call], tag: str | None, strange: bool) -> str | None:
    """What is wrong with a text's origin, if anything."""
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
            fits = call not in used and index == last[1] + 1 == calls[call].first_index
        if not fits:
            return f"after {last} came {(call, index)}: {text[max(0, at - 30) : at + 30]!r}"
        last, at = (call, index), found.end()
        used.add(call)
    return None


# --- the rules of requests ----------------------------------------------------------------------------------------


@rule
def acknowledged(evidence: Evidence) -> Iterator[Violation]:
    """Every message that was answered with 2xx exists, once; every other one at most once; a repeat finds the same."""
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
    """Nobody is answered with anything but success, or "not now"."""
    history = evidence.history
    replies = [
        *((asked.tag, reply) for asked in history.asked for reply in asked.replies),
        *((polling.name, reply) for polling in history.pollings for reply in polling.replies),
        *((f"cancel of {c.generation[-6:]}", reply) for c in history.cancellings for reply in c.replies),
    ]
    for who, reply in replies:
        if reply.status not in EXPECTED:
            yield Violation("answers", who, f"{reply.status}: {_cut(json.dumps(reply.body).encode())}")
    for reading in history.readings:
        for connection in reading.connections:
            if connection.status not in EXPECTED:
                yield _about("answers", reading, f"{connection.status} at {connection.after}")


@rule
def polls(evidence: Evidence) -> Iterator[Violation]:
    """What a poller is told only grows: position, status, and text, but for what readers may lose too."""
    excused = _cancelled_without_log(evidence)
    for polling in evidence.history.pollings:
        seen: dict[str, Any] | None = None
        for reply in polling.replies:
            if reply.status != 200:
                continue
            cancelled = polling.generation in excused and reply.body["status"] == "cancelled"
            if seen is not None and not cancelled and (complaint := _shrinks(seen, reply.body, evidence)):
                yield Violation("polls", polling.name, complaint)
            seen = reply.body
        yield from _polled_events(polling.name, [r.body for r in polling.replies if r.status == 200])


def _shrinks(seen: dict[str, Any], now: dict[str, Any], evidence: Evidence) -> str | None:
    if RANK[now["status"]] < RANK[seen["status"]] or (seen["status"] in TERMINAL and now["status"] != seen["status"]):
        return f"status {now['status']} after {seen['status']}"
    if _id(now["cursor"]) < _id(seen["cursor"]) and not evidence.allowed.rewind:
        return f"cursor {now['cursor']} after {seen['cursor']}"
    if now["content"].startswith(seen["content"]):
        return None
    if seen["content"].startswith(now["content"]) and evidence.allowed.rewind:
        return None
    if _id(now["cursor"])[0] > _id(seen["cursor"])[0] and (evidence.allowed.restart or evidence.allowed.rewind):
        # Something else may have been said behind what was taken back.
        return None
    return (
        f"content at {now['cursor']} is not what it was at {seen['cursor']}: {_differ(seen['content'], now['content'])}"
    )


def _polled_events(name: str, bodies: list[dict[str, Any]]) -> Iterator[Violation]:
    before: Id = (0, 0)
    for body in bodies:
        for event in body.get("events") or []:
            if not _follows(before, _id(event["id"])):
                yield Violation("polls", name, f"event {event['id']} after {_show(before)}")
            before = _id(event["id"])


@rule
def cancels(evidence: Evidence) -> Iterator[Violation]:
    """A cancel that was answered with 200 holds: the generation has ended, and stays as it was answered."""
    for cancelling in evidence.history.cancellings:
        answer = next((reply.body for reply in cancelling.replies if reply.status == 200), None)
        row = evidence.dump.generations.get(cancelling.generation)
        if answer is None or row is None:
            continue
        if answer["status"] not in TERMINAL:
            yield Violation("cancels", cancelling.generation, f"200 with status {answer['status']}")
        if row["status"] != answer["status"] and not (
            answer["status"] not in TERMINAL and row["status"] == "cancelled"
        ):
            text = f"answered {answer['status']}, in the end {row['status']}"
            yield Violation("cancels", cancelling.generation, text)
        elif answer["status"] in TERMINAL and row["content"] != answer["content"]:
            yield Violation(
                "cancels", cancelling.generation, f"said more afterwards: {_differ(answer['content'], row['content'])}"
            )


@rule
def isolation(evidence: Evidence) -> Iterator[Violation]:
    """Nobody sees another user's words, or learns that a generation exists."""
    words = {user: canary(user).encode() for user in USERS}
    for reading in evidence.history.readings:
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
    """After healing everything ends, and everybody is told."""
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
    """What nobody cancelled is completed; an error only where the provider or the budget gives a reason."""
    cancelled = {c.generation for c in evidence.history.cancellings}
    for generation, row in evidence.dump.generations.items():
        wanted = {"completed"} | ({"cancelled"} if generation in cancelled else set())
        wanted |= {"error"} if evidence.allowed.errors else set()
        if row["status"] in TERMINAL and row["status"] not in wanted:
            yield Violation("endings", generation, f"ended as {row['status']}: {row['error']}")
        if row["status"] in TERMINAL and row["message_status"] != row["status"]:
            yield Violation("endings", generation, f"the row says {row['status']}, its message {row['message_status']}")


@rule
def provider_calls(evidence: Evidence) -> Iterator[Violation]:
    """The provider is asked no more often than allowed, and never for an answer that is complete."""
    by_tag = defaultdict(list)
    for call in evidence.calls:
        by_tag[call.tag].append(call)
    for asked in evidence.history.asked:
        calls = by_tag[asked.tag]
        row = evidence.dump.generations.get(asked.generation or "")
        if len(calls) > evidence.allowed.calls:
            yield Violation("provider_calls", asked.tag, f"{len(calls)} calls: {[(c.number, c.end) for c in calls]}")
        # A call that was on its way when the answer was cancelled arrives after its end.
        late = [c.number for c in calls if row and row["finished_at"] and c.started > row["finished_at"] + ON_ITS_WAY]
        if late:
            yield Violation("provider_calls", asked.tag, f"calls {late} began after the end")


@rule
def hygiene(evidence: Evidence) -> Iterator[Violation]:
    """Nothing is left: no key for ever, nothing idle in a transaction, descriptors, threads and memory are back."""
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
    """What processes that were there all the time hold more than they may."""
    for name, after in dump.after.items():
        before = dump.before.get(name)
        if before is None:
            continue
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
    """Each event with the position before it. A connection's own cursor counts: the reader might have been moved."""
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


def _snapshots(reading: Reading) -> Iterator[tuple[str | None, Frame, dict[str, Any]]]:
    """Each snapshot with the text the reader had before it; None when it did not begin at the start."""
    had: str | None = "" if reading.connections and reading.connections[0].after == "0-0" else None
    for frame in reading.frames():
        event = _event(frame.data)
        if event.get("type") == "snapshot":
            yield had, frame, event
            had = event["text"]
        elif event.get("type") == "token" and had is not None:
            had += event["content"]


def _all_events(evidence: Evidence) -> Iterator[tuple[str, str, bytes, str]]:
    """(generation, id, payload, who saw it). Pollers get objects: written again in the one form there is."""
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
