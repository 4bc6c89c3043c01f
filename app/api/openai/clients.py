"""Programs that repeat a chat completion, and programs that leave one: neither costs a second answer."""

from __future__ import annotations

from collections.abc import Callable

from flask import g

from app.api.waiting import nothing
from app.api.web_process import WebProcess
from app.domain.commands import StartGeneration, User
from app.store.generations import Generation

# OpenAI's SDKs repeat a request after 0.5 s, 1 s, 2 s, … and 8 s at most, after a timeout of their own too.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 8.0
# Seconds beyond that pause in which a repeat arrives.
SLACK_SECONDS = 1.0


def begin(process: WebProcess, user: User, command: StartGeneration, retries: int | None) -> Generation:
    """Start the generation of a request, or find the one that its first attempt has started.

    ``retries``: the number of earlier attempts, as OpenAI's SDKs send it.
    """
    if retries and command.idempotency_key is None:
        first = process.resources.starter.first_of(user, command, process.settings.generation_timeout)
        if first is not None and process.live.departures.joined(first.id):
            g.generation_id = first.id
            return first
    return process.begin(user, command, by_program=True).generation


def leaving(
    process: WebProcess, user: User, generation_id: str, command: StartGeneration, retries: int | None
) -> Callable[[], None]:
    """The call for a client that has left: it cancels the generation, unless the deployment finishes such answers.

    A request with an idempotency key is finished: its client can return. A client that repeats its requests gets the
    time for the next attempt.
    """
    if process.settings.chat_completions_on_disconnect == "finish" or command.idempotency_key is not None:
        return nothing
    grace = 0.0
    if retries is not None:
        grace = min(FIRST_PAUSE_SECONDS * 2 ** min(retries, 10), LONGEST_PAUSE_SECONDS) + SLACK_SECONDS
    departures = process.live.departures
    return lambda: departures.left(user, generation_id, grace)
