"""A large answer leaves no copy of itself behind: neither beside its text nor in a connection to PostgreSQL."""

from __future__ import annotations

import sys
from time import monotonic

from app.domain.events import Snapshot, Token
from app.domain.transcript import Transcript
from app.services.finishing import LARGE_CHARS
from app.store.database import fetch_one
from app.wiring import Resources
from tests.actors import before_statement, claim, start
from tests.stack import Stack
from worker.draft import Draft


def backend(resources: Resources) -> int:
    """The PostgreSQL process behind the one pooled connection of a test without threads."""
    with resources.database.system() as tx:
        row = fetch_one(tx, "SELECT pg_backend_pid() AS pid")
    assert row is not None
    return int(row.pid)


def test_a_connection_that_has_sent_a_large_answer_is_not_used_again(module_stack: Stack) -> None:
    resources = module_stack.resources
    small = claim(resources, start(resources, module_stack.user).generation.id)
    large = claim(resources, start(resources, module_stack.user).generation.id)
    first = backend(resources)
    small.say(Snapshot("", "start", 1), Token("x" * 1000)).finish()
    assert backend(resources) == first
    large.say(Snapshot("", "start", 1), Token("x" * (LARGE_CHARS + 1))).finish()
    assert backend(resources) != first
    assert module_stack.generation(large.id).status == "completed"


def test_a_large_end_keeps_its_place_in_the_pool_until_its_commit(module_stack: Stack) -> None:
    resources = module_stack.resources
    large = claim(resources, start(resources, module_stack.user).generation.id)
    pool = resources.database.engine.pool
    taken: list[int] = []
    before_statement(resources, "COMMIT", lambda: taken.append(pool.checkedout()))  # type: ignore[attr-defined]
    large.say(Snapshot("", "start", 1), Token("x" * (LARGE_CHARS + 1))).finish()
    assert taken == [1]
    assert pool.checkedout() == 0  # type: ignore[attr-defined]


def test_a_text_of_wide_characters_is_held_without_its_encoding(module_stack: Stack) -> None:
    resources = module_stack.resources
    hand = claim(resources, start(resources, module_stack.user).generation.id)
    keys = resources.log.keys(hand.id)
    draft = Draft(
        hand.claimed, keys, Transcript(), lambda error: None, proven_at=monotonic(), opened=True, strict=False
    )
    draft.add_text("\N{PARROT}" * 10_000, False)
    draft.seal()
    fresh = "".join(["\N{PARROT}"] * 10_000)
    assert draft.transcript.text == fresh
    # `getsizeof` of a text includes the UTF-8 encoding that Python may keep with it.
    assert sys.getsizeof(draft.transcript.text) == sys.getsizeof(fresh)
