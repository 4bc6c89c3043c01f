"""Parts of the chat reader: tags of reasoning, repeated reasoning, and the places of tool calls."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.providers.chat.call_places import CallPlaces, TooManyCalls
from worker.providers.chat.think_tags import ThinkTags
from worker.providers.chat.thoughts import ENOUGH, Thoughts
from worker.providers.reading.error_shapes import error_in


def split(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(edges)]


def told_apart(parts: list[str]) -> tuple[str, str]:
    tags = ThinkTags()
    pairs = [*map(tags.feed, parts), tags.close()]
    return "".join(thought for thought, _ in pairs), "".join(text for _, text in pairs)


@pytest.mark.parametrize(
    ("content", "thought", "text"),
    [
        ("<think>\nHm.\n</think>\n\nHello", "Hm.", "Hello"),
        ("\n <thinking> Hm. </thinking>Hello ", "Hm.", "Hello "),
        ("[THINK]Hm.[/THINK]Hello", "Hm.", "Hello"),
        ("<think></think>\n\nHello", "", "Hello"),
        ("<think>\n\n</think>", "", ""),
        ("<think>Hm. </thing> more", "Hm. </thing> more", ""),
        ("</think>\n\nHello", "", "Hello"),
        ("<think>One.</think>\n<think>Two.</think>Hello", "One.Two.", "Hello"),
        ("Hello <think>x</think>", "", "Hello <think>x</think>"),
        ("`<think>`", "", "`<think>`"),
        ("```\n<think>x</think>\n```", "", "```\n<think>x</think>\n```"),
        ("<thinker>x", "", "<thinker>x"),
        ("\n\nHello", "", "\n\nHello"),
        ("  <", "", "  <"),
        (" " * 3000 + "<think>x</think>", "", " " * 3000 + "<think>x</think>"),
        ("", "", ""),
    ],
)
def test_reasoning_is_told_from_text(content: str, thought: str, text: str) -> None:
    assert told_apart([content]) == (thought, text)
    assert told_apart(list(content)) == (thought, text)


fragments = st.sampled_from(
    ["<think>", "</think>", "<th", "ink>", "</", "\n", " ", "x", "<", ">", "[THINK]", "[/THINK]"]
)


@given(st.lists(fragments, max_size=12).map("".join), st.lists(st.integers(0, 200), max_size=6))
def test_no_split_decides_what_is_reasoning(content: str, cuts: list[int]) -> None:
    assert told_apart(split(content, cuts)) == told_apart([content])


@given(st.text("ab \n", max_size=3 * ENOUGH), st.lists(st.integers(0, 700), max_size=6), st.booleans())
def test_a_repeat_of_reasoning_is_left_out(text: str, cuts: list[int], field_first: bool) -> None:
    first, second = ("field", "tags") if field_first else ("tags", "field")
    thoughts = Thoughts()
    told = ""
    for part in split(text, cuts):
        told += thoughts.feed(first, part) + thoughts.feed(second, part)  # type: ignore[arg-type]
    assert (told + thoughts.close()).strip() == text.strip()


def test_other_reasoning_is_kept() -> None:
    thoughts = Thoughts()
    told = thoughts.feed("field", "In the field.") + thoughts.feed("tags", "In tags.") + thoughts.feed("tags", " More.")
    assert told + thoughts.close() == "In the field.In tags. More."


Part = dict[str, Any]


def glued(deltas: list[list[Part]], most: int = 9) -> list[tuple[str | None, str]]:
    """The calls that the parts make, each with its name and its arguments."""
    places = CallPlaces(most)
    calls: dict[int, list[Any]] = {}
    for delta in deltas:
        earlier: set[int] = set()
        for part in delta:
            name, arguments = part.get("name"), part.get("arguments", "")
            place = places.of(part.get("index"), part.get("id") or None, name, arguments, earlier)
            if place is not None:
                call = calls.setdefault(place, [None, ""])
                call[0] = call[0] or name
                call[1] += arguments
    return [(name, arguments) for name, arguments in calls.values()]


OSLO, ROME, UTC = '{"city":"Oslo"}', '{"city":"Rome"}', '{"tz":"UTC"}'
WEATHER = {"name": "get_weather", "arguments": OSLO}
TIME = {"name": "get_time", "arguments": UTC}
BOTH = [("get_weather", OSLO), ("get_time", UTC)]


@pytest.mark.parametrize("index", [{"index": 0}, {"index": "0"}, {}, {"index": None}, {"index": -1}, {"index": True}])
@pytest.mark.parametrize("ids", [({"id": "f1"}, {"id": "f2"}), ({"id": ""}, {"id": ""}), ({}, {})])
@pytest.mark.parametrize("in_one_delta", [True, False])
def test_parallel_calls_are_kept_apart(index: Part, ids: tuple[Part, Part], in_one_delta: bool) -> None:
    for second, expected in ((TIME, BOTH), ({**WEATHER, "arguments": ROME}, [BOTH[0], ("get_weather", ROME)])):
        parts = [{**index, **ids[0], **WEATHER}, {**index, **ids[1], **second}]
        assert glued([parts] if in_one_delta else [[part] for part in parts]) == expected


def test_calls_with_equal_arguments_are_two() -> None:
    assert glued([[{"index": 0, "id": "a", **TIME}], [{"index": 0, "id": "b", **TIME}]]) == [BOTH[1]] * 2
    assert glued([[TIME, TIME]]) == [BOTH[1]] * 2


@pytest.mark.parametrize(
    "deltas",
    [
        [[{"index": 0, "id": "a", "name": "get_weather"}], [{"index": 0, "arguments": OSLO[:5]}],
         [{"index": 0, "arguments": OSLO[5:]}]],
        [[{"id": "a", "name": "get_weather"}], [{"arguments": OSLO[:5]}], [{"arguments": OSLO[5:]}]],
        # The name and the id come with each part, or the id is another each time.
        [[{"index": 0, "id": "a", "name": "get_weather", "arguments": part}] for part in ("", OSLO[:5], OSLO[5:], "")],
        [[{"index": 0, "id": "a", "name": "get_weather"}], [{"index": 0, "id": "b", "arguments": OSLO[:5]}],
         [{"index": 0, "id": "c", "arguments": OSLO[5:]}]],
        # The index counts parts, or comes with one part only.
        [[{"index": 0, "id": "a", "name": "get_weather"}], [{"index": 1, "arguments": OSLO[:5]}],
         [{"index": 2, "arguments": OSLO[5:]}]],
        [[{"id": "a", "name": "get_weather"}], [{"index": 0, "arguments": OSLO[:5]}], [{"arguments": OSLO[5:]}]],
        # The whole call is repeated at the end.
        [[{"index": 0, "id": "a", "name": "get_weather"}], [{"index": 0, "arguments": OSLO}],
         [{"index": 0, "id": "a", **WEATHER}]],
    ],
)  # fmt: skip
def test_parts_of_one_call_stay_together(deltas: list[list[Part]]) -> None:
    assert glued(deltas) == [BOTH[0]]


@given(st.lists(st.tuples(st.sampled_from(["get_weather", "get_time"]), st.lists(st.integers(0, 20), max_size=4)),
                min_size=1, max_size=5), st.randoms(use_true_random=False))  # fmt: skip
def test_interleaved_parts_find_their_calls(wanted: list[tuple[str, list[int]]], chance: Any) -> None:
    queues: list[list[Part]] = []
    expected = []
    for number, (name, cuts) in enumerate(wanted):
        arguments = json.dumps({"n": number})
        parts = [{"index": number, "arguments": part} for part in split(arguments, cuts)]
        queues.append([{"index": number, "id": f"c{number}", "name": name}, *parts])
        expected.append((name, arguments))
    deltas = []
    while any(queues):
        queue = chance.choice([queue for queue in queues if queue])
        deltas.append([queue.pop(0)])
    assert sorted(glued(deltas)) == sorted(expected)


def test_calls_have_a_limit() -> None:
    with pytest.raises(TooManyCalls):
        glued([[{"id": f"c{number}", **TIME}] for number in range(10)])


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no"}}, {"error": "no"}, [{"error": {"message": "no"}}], {"message": "no", "code": 400},
        {"object": "error", "message": "no"}, {"type": "error", "error": {"message": "no"}},
        {"detail": "no", "status": 422}, {"status": "error", "message": "no"}, {"code": "1301", "msg": "no"},
        {"base_resp": {"status_code": 1004, "status_msg": "no"}, "choices": None},
    ],
)  # fmt: skip
def test_errors_are_recognised_by_their_shape(body: Any) -> None:
    assert "no" in json.dumps(error_in(body))


@pytest.mark.parametrize(
    "body",
    [
        None, 3, "x", [], {}, {"choices": []}, {"error": None}, {"type": "ping"}, {"message": "wait"}, [[], 3],
        {"code": 0, "message": "ok"}, {"code": 200, "msg": "ok"}, {"status": "processing", "message": "wait"},
        {"choices": [{"delta": {}}], "message": "x", "code": 5}, {"base_resp": {"status_code": 0}},
    ],
)  # fmt: skip
def test_nothing_else_is_an_error(body: Any) -> None:
    assert error_in(body) is None
