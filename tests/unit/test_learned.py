"""Learned capabilities are bounded in number and in time, and shared."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from worker.providers.learning.learned import KEPT_SECONDS, MOST_MODELS, Entry, Learned

NAMES = st.sampled_from(["stream_options", "max_tokens", "temperature"])
CHANGES = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.frozensets(NAMES, min_size=1), st.floats(0, 50_000)))


@given(CHANGES)
def test_a_model_lacks_what_was_learned_in_the_last_day(changes: Sequence[tuple[str, frozenset[str], float]]) -> None:
    now = 0.0
    learned = Learned(lambda: now)
    last: dict[str, tuple[float, frozenset[str]]] = {}
    for model, lacks, pause in changes:
        now += pause
        learned.learn("u", model, lacks)
        at, before = last.get(model, (0.0, frozenset()))
        last[model] = (now, lacks | (before if now < at + KEPT_SECONDS else frozenset()))
    for model in ("a", "b"):
        at, lacks = last.get(model, (0.0, frozenset()))
        assert learned.lacks("u", model) == (lacks if now < at + KEPT_SECONDS else frozenset())
        assert learned.lacks("v", model) == frozenset()
    now += KEPT_SECONDS
    assert {learned.lacks("u", model) for model in ("a", "b")} == {frozenset()}


def test_the_oldest_model_is_forgotten_first() -> None:
    learned = Learned()
    for number in range(MOST_MODELS + 5):
        learned.learn("u", str(number), frozenset({"temperature"}))
    assert [bool(learned.lacks("u", str(number))) for number in (0, 4, 5, MOST_MODELS + 4)] == [
        False,
        False,
        True,
        True,
    ]


def test_two_processes_exchange_what_they_learned() -> None:
    now = 100.0
    told: dict[tuple[str, str], Entry] = {}
    one = Learned(lambda: now, lambda upstream, model, entry: told.update({(upstream, model): entry}))
    other = Learned(lambda: now)
    one.learn("u", "m", frozenset({"temperature"}))
    other.learn("u", "m", frozenset({"max_tokens"}))
    now += 1
    one.learn("u", "m", frozenset({"top_p"}))
    other.merge(told)
    assert other.lacks("u", "m") == {"temperature", "max_tokens", "top_p"}
    other.merge(
        {("u", "late"): Entry(frozenset({"top_p"}), now + 2 * KEPT_SECONDS), ("u", "old"): Entry(frozenset(), 1)}
    )
    assert not other.lacks("u", "late")
