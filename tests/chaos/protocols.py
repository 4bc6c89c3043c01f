"""The rules of the other protocols: what a client of OpenAI's API, of the AI SDK or of a feed is promised.

They fold bare chunks, as the documents of these protocols say, and share no code with our translators.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from tests.chaos.evidence import Evidence
from tests.chaos.explain import Excuses
from tests.chaos.history import CLEAN, NO_CONTENT, Connection, Frame, Reading
from tests.chaos.rules import Violation, rule

SUCCESS_OR_LATER = {None, 200, 204, 429, 503}
RESPONSE_ENDS = ("response.completed", "response.incomplete", "response.failed")
SDK_ENDS = ("finish", "abort", "error")
TERMINAL = ("completed", "error", "cancelled")


def _of(evidence: Evidence, kind: str) -> list[Reading]:
    return [reading for reading in evidence.history.translations if reading.kind == kind]


def _objects(frames: Iterable[Frame]) -> Iterator[dict[str, Any]]:
    for frame in frames:
        if frame.data.startswith(b"{"):
            yield json.loads(frame.data)


@rule
def translations(evidence: Evidence) -> Iterator[Violation]:
    """A client of another protocol is answered with success or "not now", and is told the end."""
    for reading in [*evidence.history.translations, *evidence.history.feeds]:
        for connection in reading.connections:
            if connection.status not in SUCCESS_OR_LATER:
                yield Violation("translations", reading.name, f"{connection.status} at {connection.after}")
        if reading.kind != "feed" and not reading.finished:
            ends = [f"{c.after}:{c.status}:{c.end}" for c in reading.connections][-4:]
            yield Violation("translations", reading.name, f"was not told the end; its last connections: {ends}")


# --- Responses ----------------------------------------------------------------------------------------------------


@rule
def responses(evidence: Evidence) -> Iterator[Violation]:
    """Events are numbered without a hole, a number is the same bytes for ever, and the deltas are the final text.

    A log that is lost together with its worker gives numbers a second meaning, and the deltas of a reader that was away
    do not add up. The output in the last event is the final text all the same.
    """
    excuses = Excuses(evidence)
    meanings: dict[tuple[str, str], bytes] = {}
    for reading in _of(evidence, "responses"):
        expected, ended = 0, False
        for connection in reading.connections:
            for frame in connection.frames:
                number = json.loads(frame.data)["sequence_number"]
                if (number, frame.id) != (expected, str(expected)):
                    yield Violation("responses", reading.name, f"{frame.id} came where {expected} was due")
                expected, ended = number + 1, ended or json.loads(frame.data)["type"] in RESPONSE_ENDS
                known = meanings.setdefault((reading.generation, frame.id or ""), frame.data)
                if known != frame.data and not excuses.cut_short(reading.generation, frame.at - 30):
                    text = f"{frame.id} is {known[:120]!r} and {frame.data[:120]!r}"
                    yield Violation("responses", reading.name, text)
            if connection.end == CLEAN and not ended:
                yield Violation("responses", reading.name, f"a clean end without the last event at {expected}")
        row = evidence.dump.generations.get(reading.generation)
        if not (row and ended):
            continue
        if (final := _final_output(reading)) != row["content"]:
            yield Violation("responses", reading.name, f"the last event: {_differ(row['content'], final)}")
        if (text := _output(reading)) != row["content"] and not _taken_back(reading, excuses):
            yield Violation("responses", reading.name, _differ(row["content"], text))


def _taken_back(reading: Reading, excuses: Excuses) -> bool:
    """True when faults explain that text shown since the first frame is missing in the end."""
    first = next(frame.at for connection in reading.connections for frame in connection.frames)
    return excuses.cut_short(reading.generation, first) is not None


def _final_output(reading: Reading) -> str:
    """The text of the message items in the terminal event, without replaced items."""
    ends = (e for c in reading.connections for e in _objects(c.frames) if e["type"] in RESPONSE_ENDS)
    items = [item for item in next(ends)["response"]["output"] if item["type"] == "message"]
    kept = [item for item in items if item["status"] != "incomplete" or item is items[-1]]
    return "".join(part["text"] for item in kept for part in item["content"])


def _output(reading: Reading) -> str:
    """The text of the message items, without those that were closed because the answer began anew."""
    texts: dict[int, str] = defaultdict(str)
    closed: set[int] = set()
    for connection in reading.connections:
        for event in _objects(connection.frames):
            if event["type"] == "response.output_text.delta":
                texts[event["output_index"]] += event["delta"]
            if event["type"] == "response.output_item.done" and event["item"].get("status") == "incomplete":
                closed.add(event["output_index"])
    return "".join(text for place, text in sorted(texts.items()) if place not in closed or place == max(texts))


# --- chat completions ---------------------------------------------------------------------------------------------


@rule
def chat_completions(evidence: Evidence) -> Iterator[Violation]:
    """Each stream of a key is the answer from its start; one that ends with ``[DONE]`` is all of it."""
    excuses = Excuses(evidence)
    for reading in _of(evidence, "chat"):
        row = evidence.dump.generations.get(reading.generation)
        if row is None:
            continue
        for connection in reading.connections:
            chunks = [*_objects(connection.frames)]
            text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c.get("choices"))
            failed = any("error" in chunk for chunk in chunks)
            complete = any(frame.data == b"[DONE]" for frame in connection.frames) and not failed
            if connection.end == CLEAN and not complete and not failed:
                yield Violation("chat_completions", reading.name, "a clean end without [DONE]")
            if failed and row["status"] == "completed" and not _excused(connection, reading, excuses):
                yield Violation("chat_completions", reading.name, f"an error: {chunks[-1]}")
            good = text == row["content"] if complete else row["content"].startswith(text)
            if not good and not _excused(connection, reading, excuses):
                yield Violation("chat_completions", reading.name, _differ(row["content"], text))


def _excused(connection: Connection, reading: Reading, excuses: Excuses) -> bool:
    """True when faults explain that text shown over this connection was taken back, or that the answer began anew."""
    if not connection.frames:
        return False
    shown = connection.frames[0].at
    again = excuses.restarted(reading.generation, connection.frames[-1].at)
    return bool(excuses.cut_short(reading.generation, shown) or again)


# --- the AI SDK ---------------------------------------------------------------------------------------------------


@rule
def ai_sdk(evidence: Evidence) -> Iterator[Violation]:
    """Each stream rebuilds the message from its first chunk; behind ``finish`` it is the final text."""
    excuses = Excuses(evidence)
    for reading in _of(evidence, "aisdk"):
        row = evidence.dump.generations.get(reading.generation)
        for connection in reading.connections:
            chunks = [*_objects(connection.frames)]
            ended = any(chunk["type"] in SDK_ENDS for chunk in chunks)
            if connection.frames and chunks[0]["type"] != "start":
                yield Violation("ai_sdk", reading.name, f"begins with {chunks[0]}")
            if connection.end == CLEAN and not ended:
                yield Violation("ai_sdk", reading.name, "a clean end without finish, abort or error")
            if row is None or connection.end == NO_CONTENT:
                continue
            text = _rebuilt(chunks)
            good = text == row["content"] if ended else row["content"].startswith(text)
            if not good and not _excused(connection, reading, excuses):
                yield Violation("ai_sdk", reading.name, _differ(row["content"], text))


def _rebuilt(chunks: list[dict[str, Any]]) -> str:
    text = ""
    for chunk in chunks:
        if chunk["type"] == "reset-step":
            text = ""
        elif chunk["type"] == "text-delta":
            text += chunk["delta"]
    return text


# --- feeds --------------------------------------------------------------------------------------------------------


@rule
def feeds(evidence: Evidence) -> Iterator[Violation]:
    """A feed is numbered without a hole, and tells of each answer as it begins and as it ends."""
    for reading in evidence.history.feeds:
        ends: dict[str, dict[str, Any]] = {}
        expected: int | None = None
        positions: dict[str, tuple[int, int]] = {}
        for connection in reading.connections:
            for frame in connection.frames:
                event = json.loads(frame.data)
                if frame.id is None:
                    yield from _of_an_answer(reading, event, positions)
                    continue
                if expected is not None and int(frame.id) != expected:
                    yield Violation("feeds", reading.name, f"{frame.id} came where {expected} was due")
                expected = int(frame.id) + 1
                if event.get("status") in TERMINAL and event.get("generation_id"):
                    ends[event["generation_id"]] = event
        yield from _all_told(evidence, reading, ends)


def _of_an_answer(
    reading: Reading, event: dict[str, Any], positions: dict[str, tuple[int, int]]
) -> Iterator[Violation]:
    """The events of one answer come in order, across connections too."""
    generation = event.get("generation_id")
    if event["type"] == "open" and generation:
        epoch, _, n = event["after"].partition("-")
        positions[generation] = int(epoch), int(n)
    if generation is None or not event.get("cursor"):
        return
    epoch, _, n = event["cursor"].partition("-")
    here, before = (int(epoch), int(n)), positions.get(generation, (0, 0))
    follows = here == (before[0], before[1] + 1) or (here[0] > before[0] and here[1] == 0)
    if not follows:
        yield Violation("feeds", reading.name, f"{event['cursor']} of {generation[-6:]} came after {before}")
    positions[generation] = here


def _all_told(evidence: Evidence, reading: Reading, ends: dict[str, dict[str, Any]]) -> Iterator[Violation]:
    for asked in evidence.history.asked:
        row = evidence.dump.generations.get(asked.generation or "")
        if asked.user != reading.user or row is None or row["status"] not in TERMINAL:
            continue
        told = ends.get(asked.generation or "")
        if told is None:
            yield Violation("feeds", reading.name, f"did not tell of the end of {asked.generation}")
        elif (told["status"], told["content"]) != (row["status"], row["content"]):
            yield Violation("feeds", reading.name, f"tells of another end: {_differ(row['content'], told['content'])}")


def _differ(one: str, other: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return f"{len(one)} and {len(other)} characters, different from {at}: {one[at : at + 50]!r}/{other[at : at + 50]!r}"
