"""Streams of chat completions as many upstreams send them: ``tests/transcripts/chat/``, whole, cut and mixed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.chats import CASES, Case, mutated, read
from tests.outcome import summary
from worker.providers.base import ALIVE


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_transcript_is_read_however_it_is_split(case: Case) -> None:
    body = case.body
    for size in (len(body), 1, 2, 7, 64):
        reader, pieces = read([body[i : i + size] for i in range(0, len(body), size)])
        assert ALIVE not in pieces
        assert summary(reader, pieces) == case.expected, size


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(CASES), st.randoms(use_true_random=False))
def test_a_read_never_decides_what_is_read(case: Case, chance: random.Random) -> None:
    edges = sorted(chance.sample(range(len(case.body)), min(9, len(case.body))))
    parts = [case.body[a:b] for a, b in zip([0, *edges], [*edges, len(case.body)], strict=True)]
    reader, pieces = read(parts)
    assert summary(reader, pieces) == case.expected


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(CASES), st.integers(0, 2**32))
def test_no_mutation_makes_a_wrong_text_complete(case: Case, seed: int) -> None:
    mutation = mutated(case, random.Random(seed))
    reader, pieces = read(mutation.parts)
    mutation.check(reader, pieces)


def test_every_upstream_of_the_list_has_transcripts() -> None:
    names = {case.name.partition("-")[0] for case in CASES}
    assert names >= {
        "openai", "azure", "vllm", "ollama", "llamacpp", "lmstudio", "openrouter", "litellm", "groq", "mistral",
        "deepseek", "kimi", "gemini", "together", "fireworks",
    }  # fmt: skip
