"""The wait for the first token of one user while another user holds all the slots one may hold, with a full queue.
    python -m bench.fairness [ROUNDS]        starts its own PostgreSQL, Valkey, worker and upstream

Prints the time from the accepted request to the first token in milliseconds, on an idle machine and behind the crowd.
Prints the time of one claim with 10,000 queued answers, of 100 users and of 10,000 users.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median, quantiles

import redis

from app.domain.commands import StartGeneration, User
from app.services.leases import Leases
from bench.stores import Stores, stores
from tests.factories import add_conversation, add_user, owner
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, until

SLOTS = 20
QUEUED = 100
ROUNDS = 40
CLAIMS = 50


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with stores() as own, FakeUpstream() as upstream, _deployment(own, upstream) as stack:
        worker, bob = stack.worker(concurrency=SLOTS), stack.resources.users.user("bob", None)
        first_token_seconds(stack, bob, 5)
        _show("idle", [1000 * one for one in first_token_seconds(stack, bob, rounds)])
        crowd = start_long_answers(stack, stack.user, SLOTS // 2 + QUEUED)
        until(lambda: stack.generation(crowd[SLOTS // 2 - 1]).status == "running")
        _show("behind a crowd", [1000 * one for one in first_token_seconds(stack, bob, rounds)])
        worker.kill()
        for users in (100, 10_000):
            _show(f"a claim with 10,000 queued of {users:,} users", claim_milliseconds(stack, users, 10_000))
        _show("a claim with 10 queued", claim_milliseconds(stack, 10, CLAIMS + 10)[CLAIMS - 10 :])


@contextmanager
def _deployment(own: Stores, upstream: FakeUpstream) -> Iterator[Stack]:
    limits = {"MAX_RUNNING_PER_USER": SLOTS // 2, "MAX_QUEUED_PER_USER": QUEUED, "SWEEP_SECONDS": 2}
    stack = Stack(own.directory, own.database_url, own.redis_url, OPENAI_BASE_URL=upstream.base_url, **limits)
    try:
        yield stack
    finally:
        stack.stop()


def start_long_answers(stack: Stack, user: User, count: int) -> list[str]:
    """Start answers that last longer than the measurement. Returns their generation ids."""
    said = json.dumps({"fake": {"tokens": 10**6, "rate": 5}})
    command = StartGeneration(said, model="fake")
    return [stack.resources.starter.start(user, command).generation.id for _ in range(count)]


def first_token_seconds(stack: Stack, user: User, rounds: int) -> list[float]:
    """Send one message after the other. Returns the seconds from each accepted request to its first token."""
    with redis.Redis.from_url(stack.settings.redis_url, socket_timeout=60) as client:
        return [_first_token(stack, user, client) for _ in range(rounds)]


def _first_token(stack: Stack, user: User, client: redis.Redis) -> float:
    said = json.dumps({"fake": {"tokens": 3, "rate": 1000}})
    with client.pubsub(ignore_subscribe_messages=True) as channel:
        channel.psubscribe(f"{stack.namespace}:{{*}}:live")
        channel.get_message(timeout=1)
        began = time.perf_counter()
        generation_id = stack.resources.starter.start(user, StartGeneration(said, model="fake")).generation.id
        for message in channel.listen():
            if generation_id.encode() in message["channel"] and b'"token"' in message["data"]:
                taken = time.perf_counter() - began
                stack.finished(generation_id)
                return taken
    raise AssertionError("unreachable")


def claim_milliseconds(stack: Stack, users: int, rows: int) -> list[float]:
    """Time claims while ``rows`` answers of ``users`` users are queued. Returns milliseconds."""
    _fill(stack, users, rows)
    leases, taken = Leases(stack.resources.database, "bench", 600, 600, lambda: 50), []
    for _ in range(CLAIMS):
        began = time.perf_counter()
        claimed, _ = leases.claim_next("00000000-0000-0000-0000-000000000000")
        taken.append((time.perf_counter() - began) * 1000)
        assert claimed, "thousands wait"
    return taken


def _fill(stack: Stack, users: int, rows: int) -> None:
    with owner(str(stack.settings.database_url)) as cursor:
        cursor.execute("DELETE FROM conversations")
        for _ in range(users):
            user = add_user(cursor)
            for _ in range(rows // users):
                conversation, message = add_conversation(cursor, user)
                cursor.execute(
                    """WITH answer AS (
                           INSERT INTO messages (id, conversation_id, user_id, parent_id, seq, role, status)
                           VALUES (uuidv7(), %(conversation)s, %(user)s, %(message)s, 2, 'assistant', 'queued')
                           RETURNING id)
                       INSERT INTO generations
                           (id, user_id, conversation_id, message_id, user_message_id, seq, model)
                       SELECT uuidv7(), %(user)s, %(conversation)s, id, %(message)s, 2, 'offline' FROM answer""",
                    {"conversation": conversation, "user": user, "message": message},
                )
        cursor.execute("ANALYZE generations")


def _show(what: str, taken: list[float]) -> None:
    """``taken`` in milliseconds."""
    print(
        f"{what}: p50 {median(taken):.1f} ms, p95 {quantiles(taken, n=20)[-1]:.1f} ms, {len(taken)} times", flush=True
    )


if __name__ == "__main__":
    main()
