"""The measurements of a run: times of recovery, repeated text, resets of readers."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

from tests.chaos.evidence import Evidence
from tests.chaos.history import Fault, Reading

_TOKEN = b'{"type":"token"'


def measure(evidence: Evidence) -> dict[str, Any]:
    """``recoveries``: seconds from a worker's death to its answers' next token. ``returns``: from a broken connection
    to the next frame. ``pauses``: the longest silence between two events of each stable reader."""
    readings = evidence.history.readings
    stable = [reading for reading in readings if reading.kind == "stable"]
    by_generation = {reading.generation: reading for reading in stable}
    calls = Counter(call.tag for call in evidence.calls)
    final = {a.tag: evidence.dump.generations.get(a.generation or "") for a in evidence.history.asked}
    sent = sum(call.tokens_sent for call in evidence.calls)
    kept = sum(row["content"].count("k") for row in final.values() if row)
    return {
        "recoveries": _recoveries(evidence, by_generation),
        "returns": [seconds for reading in stable for seconds in _returns(reading)],
        "pauses": [pause for reading in stable if (pause := _pause(reading)) is not None],
        "resent_tokens": max(0, sent - kept),
        "provider_calls": dict(sorted(Counter(calls[asked.tag] for asked in evidence.history.asked).items())),
        "frames": sum(1 for reading in readings for _ in reading.frames()),
        "connections": sum(len(reading.connections) for reading in readings),
        "readers": len(readings),
        "generations": len(evidence.dump.generations),
        "posts": dict(Counter(str(reply.status) for asked in evidence.history.asked for reply in asked.replies)),
        "statuses": dict(Counter(row["status"] for row in evidence.dump.generations.values())),
    }


def _recoveries(evidence: Evidence, readers: dict[str, Reading]) -> list[float]:
    """Seconds of recovery for each answer of each worker that was killed, stopped or sent SIGTERM."""
    seconds = []
    for fault in evidence.history.faults:
        if fault.kind not in ("worker killed", "worker stopped", "worker terminated"):
            continue
        for generation in fault.detail.split()[1:]:
            if (reader := readers.get(generation)) and (after := _next_token(reader, fault)) is not None:
                seconds.append(round(after, 3))
    return seconds


def _next_token(reader: Reading, fault: Fault) -> float | None:
    """Seconds from the fault to the first token of a revision that is newer than the fault."""
    before = [frame for frame in reader.frames() if frame.at <= fault.at]
    epoch = int((before[-1].id or "0-0").split("-")[0]) if before else 0
    for frame in reader.frames():
        if frame.at > fault.at and frame.data.startswith(_TOKEN) and int((frame.id or "0-0").split("-")[0]) > epoch:
            return frame.at - fault.at
    return None


def _returns(reading: Reading) -> list[float]:
    """Seconds from the break of each connection to the reader's next frame."""
    found = []
    ended: float | None = None
    for connection in reading.connections:
        if ended is not None and connection.frames:
            found.append(round(connection.frames[0].at - ended, 3))
            ended = None
        if connection.end == "broken" and ended is None:
            ended = connection.ended
    return found


def _pause(reading: Reading) -> float | None:
    times = [frame.at for frame in reading.frames()]
    return round(max((b - a for a, b in pairwise(times)), default=0.0), 3) if len(times) > 1 else None
