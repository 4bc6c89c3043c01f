"""Several upstreams: each model is answered by its own one, with its own key and headers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.domain.errors import InvalidInput
from app.domain.models import ModelSpec
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, until

BRIEF = {"tokens": 2, "rate": 0}


@pytest.fixture
def upstreams() -> Iterator[tuple[FakeUpstream, FakeUpstream]]:
    with FakeUpstream(defaults=BRIEF, api_key="k1") as first, FakeUpstream(defaults=BRIEF, api_key="k2") as second:
        yield first, second


@pytest.fixture
def stack(
    tmp_path: Path, database_url: str, redis_url: str, upstreams: tuple[FakeUpstream, FakeUpstream]
) -> Iterator[Stack]:
    first, second = upstreams
    stack = Stack(
        tmp_path,
        database_url,
        redis_url,
        UPSTREAMS="one,other-one",
        UPSTREAM_ONE_BASE_URL=first.base_url,
        UPSTREAM_ONE_API_KEY="k1",
        UPSTREAM_OTHER_ONE_BASE_URL=second.base_url,
        UPSTREAM_OTHER_ONE_HEADERS='{"Authorization": "Bearer k2"}',
    )
    yield stack
    stack.stop()


def test_a_model_of_a_removed_upstream_is_named_at_the_start_and_fails_with_its_reason(stack: Stack) -> None:
    stack.resources.model_admin.add("mine", ModelSpec(provider="other-one", upstream_name="fake"))
    started = stack.start(model="mine")
    removed = {name: "" for name in stack.variables if name.startswith("UPSTREAM_OTHER_ONE")}
    worker = stack.worker(UPSTREAMS="one", **removed)
    until(lambda: '"model": "mine"' in worker.log() or '"model":"mine"' in worker.log(), what="the name")
    done = stack.finished(started.generation.id)
    assert (done.status, done.error["code"]) == ("error", "provider_unknown")
    assert "names the provider other-one, which is not configured (UPSTREAMS)" in done.error["message"]


def test_each_model_is_answered_by_its_upstream(
    stack: Stack, upstreams: tuple[FakeUpstream, FakeUpstream], database_url: str
) -> None:
    first, second = upstreams
    stack.worker()
    admin = stack.resources.model_admin
    admin.add("mine", ModelSpec(provider="other-one", upstream_name="fake"))
    with pytest.raises(InvalidInput, match="named 'openai'; there are offline, offline-fast, one, other-one"):
        admin.add("nowhere", ModelSpec(provider="openai"))
    listed = ("fake", "fake-large", "fake/with-slash")
    expected = {**dict.fromkeys(listed, "one"), **{f"{n}@other-one": "other-one" for n in listed}}

    def offers() -> dict[str, str]:
        return {offer.name: offer.provider for offer in stack.resources.model_catalog.offers()}

    # The worker asks the upstreams beside its start.
    until(lambda: offers().items() >= expected.items(), what="the lists of both upstreams")
    for model, upstream in (
        (None, first),
        ("fake", first),
        ("fake@other-one", second),
        ("mine", second),
        ("unlisted", first),
    ):
        before = len(first.calls), len(second.calls)
        done = stack.finished(stack.start(model=model).generation.id)
        assert (done.status, done.error) == ("completed", None), model
        added = len(first.calls) - before[0], len(second.calls) - before[1]
        assert added == ((1, 0) if upstream is first else (0, 1)), model
