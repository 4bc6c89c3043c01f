"""The built-in model: equal conversations get equal answers, at a fixed pace, from any point on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from worker.providers.base import ChatMessage, Finished, Piece, Prompt, Text, Thought, Usage
from worker.providers.offline.provider import MIN_PIECES, Offline, full_answer, split

fast = Offline(rate=None)


def asked(question: str = "What is a stream?", /, prefix: str = "", **parameters: Any) -> Prompt:
    return Prompt("offline", (ChatMessage("user", question),), parameters, prefix)


async def _collect(provider: Offline, prompt: Prompt) -> list[Piece]:
    heard: list[Piece] = []
    await provider.stream(prompt, heard.extend)
    return heard


def answer(prompt: Prompt, provider: Offline = fast) -> list[Piece]:
    return asyncio.run(_collect(provider, prompt))


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Text))


def markdown(text: str) -> str:
    rendered: str = MarkdownIt("commonmark").enable("table").render(text)
    return rendered


def test_an_answer_has_at_least_two_hundred_pieces_and_one_end() -> None:
    pieces = answer(asked())
    texts = [piece for piece in pieces if isinstance(piece, Text)]
    assert len(texts) >= MIN_PIECES > 200
    assert all(piece.text for piece in texts)
    assert pieces[-1] == Finished("stop", Usage(len(split("What is a stream?")), len(texts)))
    assert sum(isinstance(piece, Finished) for piece in pieces) == 1


def test_an_answer_is_markdown_of_every_kind_and_says_who_speaks() -> None:
    page = markdown(text_of(answer(asked())))
    for tag in ("<h1>", "<h2>", "<ul>", "<ol>", "<li>", "<table>", "<blockquote>", "<strong>", "<em>", "<pre><code"):
        assert tag in page
    assert "built-in offline model" in page


def test_every_conversation_has_its_own_answer_and_always_the_same() -> None:
    one = text_of(answer(asked("one")))
    assert one == text_of(answer(asked("one")))
    assert one != text_of(answer(asked("two")))
    longer = Prompt(
        "offline", (ChatMessage("user", "x"), ChatMessage("assistant", "y"), ChatMessage("user", "one")), {}
    )
    assert one != text_of(answer(longer))


def test_the_border_between_messages_is_part_of_the_conversation() -> None:
    def drawn(*contents: str) -> str:
        return text_of(answer(Prompt("offline", tuple(ChatMessage("user", c) for c in (*contents, "z")), {})))

    def as_one(text: str) -> str:  # the table counts the messages
        return "\n".join(line for line in text.splitlines() if "Messages in" not in line)

    assert as_one(drawn("x", "y")) != as_one(drawn("xusery"))


def test_both_speeds_say_the_same() -> None:
    assert text_of(answer(asked(), Offline(rate=10_000))) == text_of(answer(asked()))


def test_the_words_of_the_user_are_quoted_as_they_were_typed() -> None:
    text = text_of(answer(asked("canary-7f.3_x tell me about photosynthesis")))
    assert "canary-7f.3_x" in text
    assert "photosynthesis" in text


@pytest.mark.parametrize(
    "words",
    ["*stars*", "_under_ snake_case", "`code`", "<b>bold</b>", "[a](http://x)", "AT&T &lt;", "# no title", "1. no list",
     "- none", "> none", "a | b", "---", "~~x~~", "![i](j)", "\\*", "===", "+ x", "```\nx"],
)  # fmt: skip
def test_markup_in_the_words_of_the_user_is_only_characters(words: str) -> None:
    page = markdown(text_of(answer(asked(words))))
    quote = page[page.index("<blockquote>") + len("<blockquote>") : page.index("</blockquote>")]
    shown = quote.strip().removeprefix("<p>").removesuffix("</p>")
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        words = words.replace(sign, entity)
    assert shown == words


@given(st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_no_message_breaks_the_table_or_the_code(words: str) -> None:
    text = "".join(full_answer(asked(words)))
    page = markdown(text)
    assert page.count("<tr>") == 5
    assert page.count("<td>") == 8
    assert page.count("<blockquote>") == 1
    assert page.count("<pre>") == 1
    assert "\0" not in text
    text.encode()


@given(st.text(), st.data())
@settings(max_examples=40, deadline=None)
def test_it_goes_on_exactly_behind_any_prefix_of_its_answer(question: str, data: st.DataObject) -> None:
    whole = "".join(full_answer(asked(question)))
    prefix = whole[: data.draw(st.integers(0, len(whole)))]
    rest = answer(asked(question, prefix=prefix))
    assert prefix + text_of(rest) == whole
    assert isinstance(rest[-1], Finished)
    if prefix:
        assert not any(isinstance(piece, Thought) for piece in rest)


def test_behind_a_prefix_that_is_not_its_own_it_begins_anew() -> None:
    whole = "".join(full_answer(asked()))
    assert text_of(answer(asked(prefix="Something else."))) == "\n\n" + whole


def test_the_number_of_pieces_can_be_chosen() -> None:
    for wanted in (0, 1, 37, 1000):
        pieces = answer(asked(tokens=wanted))
        assert sum(isinstance(piece, Text) for piece in pieces) == wanted
    whole = "".join(full_answer(asked(tokens=50)))
    assert whole[:20] + text_of(answer(asked(prefix=whole[:20], tokens=50))) == whole


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_of_tokens_is_kept_and_named(name: str) -> None:
    limit: dict[str, Any] = {name: 12}
    pieces = answer(asked(**limit))
    assert pieces[-1] == Finished("length", Usage(len(split("What is a stream?")), 12))
    assert text_of(pieces) == "".join(full_answer(asked())[:12])


@pytest.mark.parametrize("odd", [None, "many", -1, True, [1]])
def test_an_odd_parameter_is_ignored(odd: Any) -> None:
    assert len(answer(asked(tokens=odd, rate=odd, max_tokens=odd))) > 200


def test_it_thinks_first_when_asked_to() -> None:
    pieces = answer(asked("Think about rivers", tokens=5))
    kinds = [type(piece) for piece in pieces]
    assert kinds[0] is Thought
    assert kinds[-6:] == [Text] * 5 + [Finished]
    assert not any(isinstance(piece, Thought) for piece in answer(asked(tokens=5)))


class Clockwork(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer instead of waiting for it."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if self._scheduled and not self._ready:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def test_its_pace_does_not_drift() -> None:
    async def timed() -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Clockwork)

        def emit(pieces: list[Piece]) -> None:
            loop.now += 0.004  # a slow listener, but fast enough

        await Offline(rate=100).stream(asked(tokens=50), emit)
        return loop.time()

    with asyncio.Runner(loop_factory=Clockwork) as runner:
        # It would be 0.704 s if each wait began at the end of the last one.
        assert runner.run(timed()) == pytest.approx(0.504)


def test_at_its_own_pace_it_says_forty_pieces_a_second() -> None:
    async def timed() -> float:
        await _collect(Offline(), asked(tokens=200))
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=Clockwork) as runner:
        assert runner.run(timed()) == pytest.approx(5.0)


def test_the_fast_one_lets_others_run_between_its_pieces() -> None:
    async def watched() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await _collect(fast, asked())
        counting.cancel()
        return turns

    assert asyncio.run(watched()) > 200


def test_five_hundred_answer_at_once() -> None:
    async def crowd() -> list[list[Piece]]:
        return await asyncio.gather(*(_collect(Offline(rate=40), asked(str(i), tokens=20)) for i in range(500)))

    assert all(len(pieces) == 21 for pieces in asyncio.run(crowd()))
