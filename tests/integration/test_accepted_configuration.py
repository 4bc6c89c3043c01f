"""An answer is made with the configuration under which it was accepted. A change takes effect everywhere at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import current_thread
from typing import Any
from uuid import uuid4

import pytest

from app.domain.commands import StartGeneration
from app.domain.errors import InvalidInput
from app.domain.models import ModelSpec
from app.services import model_versions
from app.services.model_catalog import DisabledModel
from app.services.model_versions import VERSION_SETTLED_SECONDS
from app.store.database import execute, fetch
from app.wiring import Resources, build
from tests.actors import before_statement, somebody_waits
from tests.factories import owner
from tests.fakes.upstream import Call, FakeUpstream
from tests.stack import Stack, until


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(defaults={"tokens": 5, "rate": 0}) as upstream:
        yield upstream


@pytest.fixture
def stack(tmp_path: Path, database_url: str, redis_url: str, upstream: FakeUpstream) -> Iterator[Stack]:
    settings = {"OPENAI_BASE_URL": upstream.base_url, "DEFAULT_MODEL": "fake", "LEASE_SECONDS": 3}
    stack = Stack(tmp_path, database_url, redis_url, HEARTBEAT_SECONDS=0.5, **settings)
    yield stack
    stack.stop()


@pytest.fixture
def elsewhere(stack: Stack) -> Iterator[Resources]:
    """The services with connections and caches of their own, like those of another process."""
    other = build(stack.settings)
    yield other
    other.close()


@pytest.fixture
def name() -> str:
    return f"configured-{uuid4().hex[:8]}"


def spec(prompt: str, **fields: Any) -> ModelSpec:
    return ModelSpec.model_validate({"provider": "openai", "upstream_name": "fake", "system_prompt": prompt, **fields})


def calls(upstream: FakeUpstream, message: str) -> list[Call]:
    return [call for call in upstream.calls if any(message == said["content"] for said in call.body["messages"])]


def told(call: Call) -> tuple[str, str, Any]:
    """The name, the system prompt and the temperature that the upstream received."""
    said = [message["content"] for message in call.body["messages"] if message["role"] == "system"]
    return call.model, "".join(said), call.body.get("temperature")


def test_a_model_is_configured_everywhere_when_it_is_acknowledged(
    stack: Stack, elsewhere: Resources, upstream: FakeUpstream, name: str
) -> None:
    stack.worker()
    elsewhere.starter.start(stack.user, StartGeneration("warm", model="fake"))
    for n in range(3):
        message = f"{name} {n}"
        stack.resources.model_admin.put(name, spec(f"prompt {n}", parameters={"temperature": n / 4}))
        started = elsewhere.starter.start(stack.user, StartGeneration(message, model=name))
        assert stack.finished(started.generation.id).status == "completed"
        assert [told(call) for call in calls(upstream, message)] == [("fake", f"prompt {n}", n / 4)]
        assert name in [offer.name for offer in elsewhere.model_catalog.offers()]
    stack.resources.model_admin.remove(name)
    with pytest.raises(DisabledModel):
        elsewhere.starter.start(stack.user, StartGeneration("more", model=name))
    assert name not in [offer.name for offer in elsewhere.model_catalog.offers()]


def forget(resources: Resources, name: str) -> None:
    """Delete the row of a model in SQL; the service would only disable the model."""
    with resources.database.system() as tx:
        execute(tx, "DELETE FROM models WHERE name = :name", name=name)


CHANGES: dict[str, Callable[[Resources, str], Any]] = {
    "changed": lambda resources, name: resources.model_admin.put(name, spec("new", upstream_name="fake-large")),
    "switched off": lambda resources, name: resources.model_admin.remove(name),
    "deleted": forget,
}


def test_what_was_accepted_is_answered_as_it_was_accepted(stack: Stack, upstream: FakeUpstream, name: str) -> None:
    accepted = {}
    for number, (change, make) in enumerate(CHANGES.items()):
        model = f"{name}-{number}"
        stack.resources.model_admin.put(model, spec("old"))
        accepted[change] = stack.start(f"{model}?", model=model).generation.id, f"{model}?"
        make(stack.resources, model)
    stack.worker()
    for change, (generation, message) in accepted.items():
        row = stack.finished(generation)
        assert (change, row.status, row.error) == (change, "completed", None)
        assert [told(call) for call in calls(upstream, message)] == [("fake", "old", None)], change


def test_a_name_that_nobody_had_configured_is_passed_on_as_it_was(
    stack: Stack, upstream: FakeUpstream, name: str
) -> None:
    message = f"{name}?"
    generation = stack.start(message, model=name).generation.id
    stack.resources.model_admin.put(name, spec("new"))
    stack.worker()
    assert stack.finished(generation).status == "completed"
    assert [told(call) for call in calls(upstream, message)] == [(name, "", None)]


def test_another_worker_goes_on_with_the_accepted_configuration(
    stack: Stack, upstream: FakeUpstream, name: str
) -> None:
    stack.resources.model_admin.put(name, spec("old"))
    first = stack.worker()
    message = json.dumps({"fake": {"key": name, "tokens": 2000, "rate": 20}})
    generation = stack.start(message, model=name).generation.id
    until(lambda: len(stack.log(generation)) > 10)
    first.kill()
    stack.resources.model_admin.put(name, spec("new", upstream_name="fake-large"))
    stack.worker()
    until(lambda: len(calls(upstream, message)) == 2, what="the call of the other worker")
    calls(upstream, message)[1].enough = True
    assert stack.finished(generation).status == "completed"
    assert [told(call)[:2] for call in calls(upstream, message)] == [("fake", "old")] * 2


def test_an_answer_that_an_earlier_release_accepted_is_made_with_what_is_configured_now(
    stack: Stack, upstream: FakeUpstream, name: str
) -> None:
    stack.resources.model_admin.put(name, spec("now"))
    message = f"{name}?"
    generation = stack.start(message, model=name).generation.id
    with stack.resources.database.system() as tx:
        execute(tx, "UPDATE generations SET model_version = NULL WHERE id = :id", id=generation)
    stack.worker()
    assert stack.finished(generation).status == "completed"
    assert [told(call)[:2] for call in calls(upstream, message)] == [("fake", "now")]


def test_a_version_is_kept_for_every_way_to_change_a_model_and_for_nothing_else(stack: Stack, name: str) -> None:
    configurator = stack.resources.model_admin
    first, _ = configurator.put(name, spec("one"))
    again, _ = configurator.put(name, spec("one", label="Another label"))
    assert again.version == first.version
    with stack.resources.database.system() as tx:
        # An earlier release, or an operator by hand, changes the row in SQL.
        execute(tx, "UPDATE models SET system_prompt = 'two' WHERE name = :name", name=name)
    changed = configurator.get(name)
    assert changed.version > first.version
    assert stack.resources.model_catalog.accepted(name, first.version).system_prompt == "one"
    assert stack.resources.model_catalog.accepted(name, changed.version).system_prompt == "two"


def versions(resources: Resources, name: str) -> list[int]:
    with resources.database.system() as tx:
        return [
            row.version for row in fetch(tx, "SELECT version FROM model_versions WHERE name = :n ORDER BY 1", n=name)
        ]


def let_pass(resources: Resources, seconds: float) -> None:
    """Move the time of every change of a model into the past by this many seconds."""
    with owner(resources.settings.database_url) as cursor:
        cursor.execute("UPDATE model_versions SET created_at = created_at - make_interval(secs => %s)", (seconds,))


def test_versions_that_no_unfinished_answer_names_are_removed(stack: Stack, name: str) -> None:
    resources = stack.resources
    accepted: list[str] = []
    for n in range(4):
        resources.model_admin.put(name, spec(f"prompt {n}"))
        accepted.append(stack.start(f"{name} {n}", model=name).generation.id)
    first, waiting, replaced, newest = versions(resources, name)
    stack.resources.generations.cancel(stack.user, accepted[0])
    stack.resources.generations.cancel(stack.user, accepted[2])
    model_versions.prune(resources.database)
    assert versions(resources, name) == [first, waiting, replaced, newest], "an answer may just be accepted with one"
    let_pass(resources, VERSION_SETTLED_SECONDS + 60)
    model_versions.prune(resources.database)
    assert versions(resources, name) == [waiting, newest]
    assert resources.model_catalog.accepted(name, waiting).system_prompt == "prompt 1"
    resources.generations.cancel(stack.user, accepted[1])
    resources.generations.cancel(stack.user, accepted[3])
    model_versions.prune(resources.database)
    assert versions(resources, name) == [newest], "the model has it"


def test_versions_of_a_deleted_model_are_removed_in_batches(
    stack: Stack, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_versions, "VERSIONS_AT_ONCE", 2)
    for n in range(5):
        stack.resources.model_admin.put(name, spec(f"prompt {n}"))
    assert stack.resources.model_admin.remove(name) is None
    let_pass(stack.resources, VERSION_SETTLED_SECONDS + 60)
    model_versions.prune(stack.resources.database)
    assert versions(stack.resources, name) == []


def test_two_changes_of_a_model_at_once_are_both_made(stack: Stack, elsewhere: Resources, name: str) -> None:
    """The second change waits for the lock that the first one holds. It then edits the result of the first."""
    stack.resources.model_admin.put(name, spec("old"))

    def change(resources: Resources, fields: dict[str, Any], meanwhile: Callable[[], Any]) -> None:
        def edit(old: ModelSpec) -> ModelSpec:
            meanwhile()
            return ModelSpec.model_validate(old.model_dump() | fields)

        resources.model_admin.change(name, edit)

    with ThreadPoolExecutor(1) as pool:
        seconds: list[Any] = []

        def begin_the_second() -> None:
            seconds.append(pool.submit(change, elsewhere, {"description": "second"}, lambda: None))
            until(lambda: seconds[0].done() or somebody_waits(stack.resources))

        change(stack.resources, {"label": "first"}, begin_the_second)
        seconds[0].result(60)
    model = stack.resources.model_admin.get(name)
    assert (model.label, model.description) == ("first", "second")


def test_of_two_that_add_a_model_at_once_one_is_refused(stack: Stack, elsewhere: Resources, name: str) -> None:
    before_statement(
        stack.resources,
        "INSERT INTO models",
        lambda: elsewhere.model_admin.add(name, spec("first")),
        by=current_thread(),
    )
    with pytest.raises(InvalidInput, match="already"):
        stack.resources.model_admin.add(name, spec("second"))
    assert stack.resources.model_admin.get(name).system_prompt == "first"
