"""The record of a generation's attempts: one entry for each call of a provider, however it ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.domain.events import Mark
from app.domain.transcript import Transcript
from app.domain.usage import estimate

Attempt = dict[str, Any]


def unfinished(number: int, said: Transcript, outcome: str, epoch: int, seconds: float, input_tokens: int) -> Attempt:
    """The entry of a call that was cut off. Its usage is estimated from the text it sent."""
    return _broken_off(number, len(said.fresh), outcome, epoch, seconds, input_tokens)


def at_target(made: Sequence[Attempt], target: str | None) -> list[Attempt]:
    """The entries, each with the target (``upstream/name``) that was called; None where it is not known."""
    return [{**attempt, "target": attempt.get("target") or target} for attempt in made]


def calls_made(recorded: Sequence[Attempt], said: Transcript, target: str | None, begun: int) -> int:
    """The number of calls that the log or the record shows, and at least one for each claim of a lost worker.

    ``target`` is the one that was noted last, as it is stored. A target is noted, with the record of the calls before,
    when its first call begins: a record that ends at another target lacks that call, also where the log shows nothing
    of it. ``begun``: claims of workers that were not given back. The log may show nothing of the calls of any of them,
    unless it has a mark: the revision of a finished call counts the calls before it, and none follows.
    """
    last = recorded[-1].get("target") if recorded else None
    has_moved = target is not None and last is not None and target != last
    released = sum(1 for attempt in recorded if attempt.get("outcome") == "released")
    claims = begun + released if said.mark is None else 0
    return max(said.calls, len(recorded) + has_moved, claims)


def unrecorded(
    recorded: Sequence[Attempt], calls: int, said: Transcript, outcome: str, elapsed: float, input_tokens: int
) -> list[Attempt]:
    """Those of ``calls`` that the record does not have: their worker was lost, or told to stop.

    ``elapsed``: seconds since the first claim; a call took what the recorded ones leave of them, at most. Each was sent
    a prompt of about ``input_tokens``; what was said since the last snapshot, the last of them said. A log with a mark
    has the usage of all calls, and those of its last revision are finished.
    """
    left = elapsed - sum(attempt.get("seconds") or 0.0 for attempt in recorded)
    numbers = range(len(recorded) + 1, calls + 1)
    epoch = max(1, said.cursor.epoch)
    chars = [*(0 for _ in numbers[:-1]), len(said.fresh)]
    made = [
        _broken_off(number, size, outcome, epoch, left / len(numbers), input_tokens)
        for number, size in zip(numbers, chars, strict=False)
    ]
    return made if said.mark is None else _finished(made, recorded, said, said.mark)


def _finished(made: Sequence[Attempt], recorded: Sequence[Attempt], said: Transcript, mark: Mark) -> list[Attempt]:
    """The entries with the usage of the mark. Only the last call, which has finished, is known to be visible."""
    parts = _parts(mark.usage, recorded, len(made))
    finished = [attempt | {"usage": part} for attempt, part in zip(made, parts, strict=True)]
    for attempt in finished:
        if attempt["attempt"] >= said.attempt:
            attempt["outcome"] = "finished"
    if finished:
        # A takeover may have repeated the text in a snapshot.
        finished[-1]["visible"] = bool(said.text or said.reasoning)
    return finished


def _parts(total: dict[str, Any] | None, recorded: Sequence[Attempt], count: int) -> list[dict[str, Any] | None]:
    """The rest of a total usage beside the recorded calls, in ``count`` parts of the same size. Their sum is exact."""
    if total is None:
        return [None] * count
    known = [usage for attempt in recorded if (usage := attempt.get("usage"))]
    parts: list[dict[str, Any] | None] = []
    for to_come in range(count, 0, -1):
        part = {
            name: _part(total[name] or 0, [usage.get(name) or 0 for usage in known], to_come)
            for name in total
            if name != "estimated"
        }
        if total.get("estimated") or count > 1:
            part["estimated"] = True
        parts.append(part)
        known.append(part)
    return parts


def _part(total: float, known: Sequence[float], count: int) -> float:
    """One of ``count`` parts of what the known numbers leave of a total; a whole number of tokens, but any cost."""
    left = max(total - sum(known), 0)
    return left // count if isinstance(left, int) else left / count


def _broken_off(number: int, chars: int, outcome: str, epoch: int, seconds: float, input_tokens: int) -> Attempt:
    return {
        "attempt": number,
        "epoch": epoch,
        "seconds": round(max(0.0, seconds), 3),
        "outcome": outcome,
        "visible": chars > 0,
        "usage": estimate(input_tokens, chars),
    }


def total_usage(attempts: Sequence[Attempt]) -> dict[str, Any] | None:
    """The usage of all attempts together; None without any usage."""
    told = [attempt["usage"] for attempt in attempts if attempt["usage"]]
    if not told:
        return None
    names = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens")
    total: dict[str, Any] = {name: sum(usage.get(name) or 0 for usage in told) for name in names}
    costs = [usage["cost"] for usage in told if usage.get("cost") is not None]
    if costs:
        total["cost"] = sum(costs)
    if written := sum(usage.get("cache_write_tokens") or 0 for usage in told):
        total["cache_write_tokens"] = written
    if any(usage.get("estimated") for usage in told):
        total["estimated"] = True
    return total
