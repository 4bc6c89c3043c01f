"""A PostgreSQL that was restored from an older backup, while Redis still has the newer logs.

PostgreSQL is the authority, and Redis is the witness of what it has forgotten: no epoch is used twice, and no log has a
mixture of two revisions.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy.engine import make_url

from app.domain.commands import User
from app.domain.cursor import START
from app.domain.errors import LeaseLost
from app.domain.events import Done, Entry, Mark, Snapshot, Token, decode, encode
from app.domain.transcript import Transcript
from app.services import restores
from app.services.poller import Poller
from app.services.takeover import Frozen
from app.store import checkpoints
from app.store.database import execute
from app.wiring import Resources
from dev.postgres import Postgres, binaries
from tests.actors import Hand, claim, release, start
from tests.factories import owner
from tests.logins import as_administrator
from tests.stack import Stack

MARK = Mark("stop", {"input_tokens": 1, "output_tokens": 2})


@pytest.fixture
def resources(module_stack: Stack) -> Resources:
    return module_stack.resources


@pytest.fixture
def alice(resources: Resources) -> User:
    return resources.users.user(f"alice {uuid4()}", None)


def restore(stack: Stack, generation: str, epoch: int, status: str = "running") -> None:
    """Make the row what an older backup has of it: this epoch, and no checkpoint."""
    with owner(stack.settings.database_url) as cursor:
        # As pg_restore writes: without the triggers.
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("DELETE FROM generation_chunks WHERE generation_id = %s", (generation,))
        cursor.execute(
            "UPDATE generations SET epoch = %s, status = %s, lease_until = NULL WHERE id = %s",
            (epoch, status, generation),
        )


def take_over(resources: Resources, generation: str, most: int = 2) -> tuple[Hand, Frozen]:
    """Claim as workers do, again after each lost lease, ``most`` times at most."""
    for tried in count(1):
        hand = claim(resources, generation)
        try:
            return hand, hand.freeze()
        except LeaseLost:
            assert tried < most, f"{tried} claims were lost"
    raise AssertionError


def whole(resources: Resources, generation: str) -> list[Entry]:
    entries: list[Entry] = []
    while page := resources.reader.read(generation, entries[-1].cursor if entries else START):
        entries += page
    return entries


@pytest.mark.parametrize(("epoch", "status"), [(0, "queued"), (1, "running"), (2, "running")])
@pytest.mark.parametrize("newer", [1, 2, 5])
def test_readers_see_one_answer_also_where_redis_knows_later_epochs(
    module_stack: Stack, resources: Resources, alice: User, newer: int, epoch: int, status: str
) -> None:
    if newer < epoch:
        pytest.skip("Redis is not behind here")
    generation = start(resources, alice).generation.id
    for _ in range(newer):
        hand = claim(resources, generation).speak(6)
        hand.publish()
        release(resources, generation)
    restore(module_stack, generation, epoch, status)

    taken, frozen = take_over(resources, generation)
    taken.say(Snapshot(frozen.transcript.text, "takeover", 1)).speak(9)
    taken.publish()

    assert taken.epoch > newer, "an epoch that readers know is not used again"
    assert whole(resources, generation)[-10:] == taken.entries
    assert Transcript.of(whole(resources, generation)).text == Transcript.of(taken.entries).text
    assert frozen.transcript.text.startswith(f"t{newer}."), "the text that readers have seen is kept"


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_an_end_that_only_redis_has_is_no_end(
    module_stack: Stack, resources: Resources, alice: User, status: str
) -> None:
    generation = start(resources, alice).generation.id
    first = claim(resources, generation).speak(6)
    if status == "completed":
        first.say(MARK)
    first.publish()
    done = encode(Done(status, "stop", {"output_tokens": 2}, "0" * 64))  # type: ignore[arg-type]
    first.end(done)
    restore(module_stack, generation, 1)

    taken, frozen = take_over(resources, generation)
    assert frozen.transcript.text == Transcript.of(first.entries).text
    assert (frozen.transcript.mark is not None) == (status == "completed")
    taken.say(Snapshot(frozen.transcript.text, "takeover", 1))
    taken.publish()
    taken.end(taken.finish(before=first.entries))

    ends = [entry.cursor for entry in whole(resources, generation) if isinstance(decode(entry.payload), Done)]
    assert ends == [resources.generations.get(alice, generation).row.final]
    with resources.database.system() as tx:
        archive = checkpoints.archived(tx, generation)
    assert [entry.cursor for entry in archive if isinstance(decode(entry.payload), Done)] == ends


def test_a_poll_shows_the_text_before_an_end_that_only_redis_has(
    module_stack: Stack, resources: Resources, alice: User
) -> None:
    generation = start(resources, alice).generation.id
    first = claim(resources, generation).speak(6)
    first.publish()
    first.end(encode(Done("cancelled", "cancelled", {}, "0" * 64)))
    restore(module_stack, generation, 1)
    shown = Poller(resources.generations, resources.reader).poll(alice, generation, START)
    assert (shown.view.row.status, shown.view.content) == ("running", Transcript.of(first.entries).text)
    assert shown.events == first.entries


# --- Redis is empty, and only the cursors of clients are left -------------------------------------------------------


@pytest.fixture
def restored(module_stack: Stack, postgres: Postgres, tmp_path: Path) -> Iterator[Callable[[], Stack]]:
    """Dumps the database of ``module_stack``, restores it into a new one, and empties Redis when it is called."""
    name, stacks = f"restored_{uuid4().hex}", list[Stack]()
    given = make_url(as_administrator(module_stack.settings.database_url))
    environment = {"PGPASSWORD": str(given.password), "PATH": f"{binaries()}:/usr/bin:/bin"}
    server = ["-h", str(given.host), "-p", str(given.port), "-U", str(given.username)]

    def restore_into_a_new_database() -> Stack:
        dump = tmp_path / "unbroken.dump"
        postgres.execute("CREATE DATABASE {}", name)
        commands = [
            ["pg_dump", *server, "--format=custom", f"--file={dump}", str(given.database)],
            ["pg_restore", *server, f"--dbname={name}", str(dump)],
        ]
        for command in commands:
            subprocess.run(command, env=environment, check=True)
        stack = Stack(tmp_path, postgres.url(name), module_stack.settings.redis_url)
        stacks.append(stack)
        return stack

    yield restore_into_a_new_database
    for stack in stacks:
        stack.stop()
    postgres.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def test_a_reader_that_resumes_after_a_restore_gets_no_part_of_another_text(
    module_stack: Stack, resources: Resources, alice: User, restored: Callable[[], Stack]
) -> None:
    """The answer waited when the dump was made, ran, and was read up to ``1-3``. Afterwards it is answered anew."""
    assert restores.notice(resources.database) == 0, "a first start raises nothing"
    generation = start(resources, alice).generation.id
    stack = restored()
    before = claim(resources, generation).speak(6)
    before.publish()
    seen = before.entries[3].cursor

    assert restores.notice(stack.resources.database) > 0
    assert restores.notice(stack.resources.database) == 0, "a restore is noticed once"
    after = claim(stack.resources, generation)
    after.say(Snapshot("", "start", 1), *(Token(f"another{n} ") for n in range(9)))
    after.publish()
    resumed = stack.resources.reader.read(generation, seen)
    assert Transcript.of([*before.entries[:4], *resumed]).text == Transcript.of(after.entries).text


@pytest.mark.usefixtures("patient_locks")
def test_several_workers_notice_a_restore_once(resources: Resources, alice: User) -> None:
    generation = start(resources, alice).generation.id
    restores.notice(resources.database)
    with resources.database.system() as tx:
        execute(tx, "UPDATE incarnation SET name = 'of another server'")
    with ThreadPoolExecutor(8) as pool:
        raised = list(pool.map(lambda _: restores.notice(resources.database), range(8)))
    assert sorted(raised)[:7] == [0] * 7
    assert max(raised) > 0
    assert claim(resources, generation).epoch > 1000
