"""Workers that operators drain: what they take, what they finish, what they hand over, and when they may stop."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread
from typing import Any
from uuid import uuid4

import orjson
import pytest

from app.domain.audit import SERVICE
from app.domain.cursor import START
from app.domain.errors import WrongState
from app.domain.events import Done, Entry, Snapshot, decode
from app.domain.transcript import Transcript, digest
from app.services.worker_admin import SeenWorker, WorkerAdmin
from app.store import admin_generations
from tests.stack import Stack, Worker, until
from worker.embeddings import Embedder
from worker.providers.registry import Providers

PATIENCE = 60.0


@pytest.fixture(scope="module")
def workers(module_stack: Stack) -> list[Worker]:
    return module_stack.workers(2)


@pytest.fixture
def pair(module_stack: Stack, workers: list[Worker]) -> Iterator[tuple[Worker, Worker]]:
    """Two workers, which work again after the test."""
    yield workers[0], workers[1]
    for worker in workers:
        undrain(module_stack, worker)


def admin(stack: Stack) -> WorkerAdmin:
    return WorkerAdmin(stack.resources.database.system, stack.settings.worker_lost_seconds)


def seen(stack: Stack, worker: Worker) -> SeenWorker:
    return admin(stack).get(worker.name)


def drain(stack: Stack, worker: Worker, mode: Any = "finish") -> None:
    admin(stack).drain(SERVICE, worker.name, mode, None)


def undrain(stack: Stack, worker: Worker) -> None:
    admin(stack).undrain(SERVICE, worker.name, None)
    until(lambda: seen(stack, worker).worker.state == "working", PATIENCE, "the work of an undrained worker")


def drained(stack: Stack, worker: Worker) -> None:
    """Drain a worker in which nothing runs, and wait until it may stop."""
    drain(stack, worker)
    until(lambda: seen(stack, worker).worker.may_stop, PATIENCE, "that it may stop")


def begun(stack: Stack, count: int = 1) -> list[str]:
    """Answers of which something is shown."""
    ids = [stack.start(f"number {n}", model="offline").generation.id for n in range(count)]
    until(lambda: all(len(stack.log(i)) > 3 for i in ids), PATIENCE, "the beginnings")
    return ids


def cancel(stack: Stack, ids: list[str]) -> None:
    for generation_id in ids:
        stack.resources.generations.cancel(stack.user, generation_id)


def run_by(stack: Stack, ids: list[str]) -> set[str | None]:
    with stack.resources.database.operator() as tx:
        return {watched.worker for watched in admin_generations.some(tx, ids)}


def reasons(stack: Stack, generation_id: str) -> list[str]:
    """The reasons of an answer's snapshots."""
    events = [decode(entry.payload) for entry in stack.read(generation_id)]
    return [event.reason for event in events if isinstance(event, Snapshot)]


@pytest.mark.slow
def test_a_drained_worker_finishes_its_answers_and_takes_none(module_stack: Stack, pair: tuple[Worker, Worker]) -> None:
    stack, (first, second) = module_stack, pair
    drained(stack, second)
    ids = begun(stack, 3)
    assert run_by(stack, ids) == {first.name}
    drain(stack, first)
    undrain(stack, second)
    shown = seen(stack, first)
    assert (shown.worker.state, shown.worker.may_stop) == ("draining", False)
    for generation_id in ids:
        stack.finished(generation_id)
        assert reasons(stack, generation_id) == ["start"]
    assert run_by(stack, ids) == {first.name}
    until(lambda: seen(stack, first).worker.may_stop, PATIENCE)
    later = begun(stack, 4)
    assert run_by(stack, later) == {second.name}
    cancel(stack, later)


def test_answers_are_handed_over_and_go_on_at_once(module_stack: Stack, pair: tuple[Worker, Worker]) -> None:
    stack, (first, second) = module_stack, pair
    drained(stack, second)
    ids = begun(stack, 3)
    undrain(stack, second)
    drain(stack, first, "hand_over")
    until(lambda: seen(stack, first).worker.may_stop, PATIENCE)
    for generation_id in ids:
        row = stack.finished(generation_id)
        assert (row.status, run_by(stack, [generation_id])) == ("completed", {second.name})
        assert reasons(stack, generation_id) == ["start", "continue"]


def test_a_new_connection_to_redis_does_not_end_a_drain(module_stack: Stack, pair: tuple[Worker, Worker]) -> None:
    stack, (first, second) = module_stack, pair
    drained(stack, first)
    lost = first.log().count("Connection to broker lost")
    listening = [client for client in stack.resources.redis.client_list() if "P" in client["flags"]]
    for client in listening:  # those of the workers: this process publishes only
        stack.resources.redis.client_kill_filter(_id=client["id"])
    until(lambda: first.log().count("Connection to broker lost") > lost, PATIENCE, "the loss of the connection")
    ids = begun(stack, 6)
    assert run_by(stack, ids) == {second.name}
    cancel(stack, ids)
    undrain(stack, first)
    drained(stack, second)
    [later] = begun(stack)
    assert run_by(stack, [later]) == {first.name}
    cancel(stack, [later])


def test_nothing_is_handed_over_to_nobody(module_stack: Stack, pair: tuple[Worker, Worker]) -> None:
    stack, (first, second) = module_stack, pair
    drained(stack, second)
    [generation_id] = begun(stack)
    drain(stack, first, "hand_over")
    until(lambda: seen(stack, first).warning, PATIENCE, "the warning")
    row = stack.finished(generation_id)
    assert (row.status, reasons(stack, generation_id)) == ("completed", ["start"])
    assert run_by(stack, [generation_id]) == {first.name}


def test_embeddings_are_passed_on(module_stack: Stack, workers: list[Worker]) -> None:
    stack, request_id = module_stack, str(uuid4())
    body = {"model": "offline", "input": "x"}
    reply = stack.resources.mailbox.send(request_id, orjson.dumps({"user_id": stack.user.id, "body": body}))
    loop = asyncio.new_event_loop()
    drained = Embedder(stack.resources, Providers(()), loop)
    loop.close()
    drained.pause()
    assert drained.run(request_id) == "handed on"
    assert drained.is_idle
    until(lambda: reply.is_there, PATIENCE, "the reply of a worker that works")
    assert b"makes no embeddings" in (reply.read() or b"")


class Reader(Thread):
    """Follows an answer from its first event, as a client's poll does; its text never changes behind the reader."""

    def __init__(self, stack: Stack, generation_id: str) -> None:
        super().__init__(daemon=True)
        self.stack, self.generation_id = stack, generation_id
        self.entries: list[Entry] = []
        self.shown = ""
        self.complaints: list[str] = []
        self.longest_pause = 0.0

    def run(self) -> None:
        came = time.monotonic()
        while not self.entries or not isinstance(decode(self.entries[-1].payload), Done):
            after = self.entries[-1].cursor if self.entries else START
            page = self.stack.resources.reader.read(self.generation_id, after)
            if page:
                self.longest_pause = max(self.longest_pause, time.monotonic() - came) if self.entries else 0.0
                came = time.monotonic()
            self.entries += page
            text = Transcript.of(self.entries).text
            if not text.startswith(self.shown):
                self.complaints.append(f"{self.shown[-40:]!r} became {text[-40:]!r}")
            self.shown = text
            time.sleep(0.02)


def act(stack: Stack, worker: Worker, step: str) -> None:
    """Drain or undrain a worker, unless its death is known already."""
    with suppress(WrongState):
        if step == "undrain":
            admin(stack).undrain(SERVICE, worker.name, None)
        else:
            admin(stack).drain(SERVICE, worker.name, "hand_over" if step == "hand_over" else "finish", step)


@pytest.mark.slow
def test_random_steps_cost_no_answer_and_no_reader(module_stack: Stack, workers: list[Worker]) -> None:
    """Drains, undrains, a kill and a start while answers run: each completes once, and its reader sees one text."""
    stack, living = module_stack, list(workers)
    seed = int(os.environ.get("SEED", "7"))
    chance, readers = random.Random(seed), []
    steps = ["drain", "hand_over", "undrain", "answers"] * 3 + ["kill"]
    chance.shuffle(steps)
    for step in ["answers", *steps]:
        worker = chance.choice(living)
        if step == "answers":
            for n in range(3):
                readers.append(Reader(stack, stack.start(f"{step} {n} of {seed}", model="offline").generation.id))
                readers[-1].start()
        elif step == "kill":
            worker.kill()
            living[living.index(worker)] = stack.worker()
        else:
            act(stack, worker, step)
        time.sleep(chance.uniform(0, 0.7))
    for worker in living:
        undrain(stack, worker)
    workers[:] = living
    for reader in readers:
        row = stack.finished(reader.generation_id)
        reader.join(PATIENCE)
        assert not reader.is_alive(), reader.generation_id
        assert (row.status, reader.complaints) == ("completed", []), seed
        assert reader.shown == stack.transcript(reader.generation_id).text
        [done] = [entry for entry in reader.entries if isinstance(decode(entry.payload), Done)]
        assert decode(done.payload).sha256 == digest(reader.shown)
    print("longest pauses", sorted(round(reader.longest_pause, 2) for reader in readers)[-5:])
