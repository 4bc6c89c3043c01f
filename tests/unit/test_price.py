"""The price of usage: input that a cache has served or kept costs what providers bill for it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attempts import total_usage
from app.domain.models import Price
from app.domain.usage import cost_of, priced
from worker.providers.chat.usage import usage_of as chat_usage
from worker.providers.reading.native_usage import added
from worker.providers.reading.native_usage import usage_of as messages_usage

amounts = st.decimals(0, 1000, places=6)
counts = st.integers(0, 10**9)
prices = st.builds(
    Price, input=amounts, output=amounts, cached_input=st.none() | amounts, cache_write=st.none() | amounts
)


@st.composite
def usages(draw: st.DrawFn) -> dict[str, int]:
    """A usage as a provider counts it: the cached and the written tokens are parts of the input."""
    cached, written, fresh = draw(counts), draw(counts), draw(counts)
    told = {"input_tokens": cached + written + fresh, "output_tokens": draw(counts), "cached_tokens": cached}
    return {**told, "cache_write_tokens": written} if written else told


def test_cached_input_is_billed_at_its_own_price() -> None:
    price = Price(input=Decimal(3), output=Decimal(15), cached_input=Decimal("0.3"), cache_write=Decimal("3.75"))
    told = messages_usage(
        {
            "input_tokens": 100_000,
            "cache_read_input_tokens": 1_000_000,
            "cache_creation_input_tokens": 200_000,
            "output_tokens": 10_000,
        }
    )
    assert told is not None
    assert (told.input_tokens, told.cached_tokens, told.cache_write_tokens) == (1_300_000, 1_000_000, 200_000)
    of_call = {
        "input_tokens": told.input_tokens,
        "output_tokens": told.output_tokens,
        "cached_tokens": told.cached_tokens,
        "cache_write_tokens": told.cache_write_tokens,
    }
    # 0.1 × 3 + 1 × 0.3 + 0.2 × 3.75 + 0.01 × 15
    assert cost_of(of_call, price) == (Decimal("1.5"), "USD")
    both = added(told, told)
    assert both is not None
    assert both.cache_write_tokens == 400_000


@pytest.mark.parametrize(
    ("told", "cached", "written"),
    [
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3}}, 4, 3),
        ({"prompt_tokens": 9, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3}, 4, 3),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5}, 4, None),
        ({"prompt_tokens": 9}, 0, None),
    ],
)
def test_each_name_of_the_counts_is_read(told: dict[str, object], cached: int, written: int | None) -> None:
    found = chat_usage(told)
    assert found is not None
    assert (found.input_tokens, found.cached_tokens, found.cache_write_tokens) == (9, cached, written)


@given(price=prices, told=usages())
def test_a_price_without_one_for_the_cache_is_that_of_other_input(price: Price, told: dict[str, int]) -> None:
    plain = price.model_copy(update={"cached_input": None, "cache_write": None})
    without = {"input_tokens": told["input_tokens"], "output_tokens": told["output_tokens"]}
    assert cost_of(told, plain) == cost_of(without, price)


@given(price=prices, calls=st.lists(st.none() | usages(), min_size=1, max_size=6))
def test_an_answer_costs_what_its_calls_cost(price: Price, calls: list[dict[str, int] | None]) -> None:
    attempts = [{"usage": told} for told in calls]
    cost, _ = cost_of(total_usage(attempts), price)
    assert cost == sum(Decimal(made["cost"]) for made in priced(attempts, price))


@given(price=prices, told=st.fixed_dictionaries({name: st.integers(-5, 10**13) for name in (
    "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens")}))  # fmt: skip
def test_counts_that_do_not_agree_never_cost_less_than_nothing_or_more_than_the_dearest(
    price: Price, told: dict[str, int]
) -> None:
    cost, _ = cost_of(told, price)
    dearest = max(price.input, price.cached_input or 0, price.cache_write or 0)
    assert cost is not None
    assert 0 <= cost <= (dearest * max(0, told["input_tokens"]) + price.output * max(0, told["output_tokens"])) / 10**6
