"""Titles of conversations: from the first words, or from the answer of a model. Pure."""

from __future__ import annotations

import re

from app.domain.single_line import cut, single_line

# As long as a list of conversations can show in one line.
LONGEST = 60
# Characters of a message that are enough for a title.
ENOUGH = 2000

# Signs around words. Between two words they are part of the text.
_MARKUP = re.compile(r"(?<!\w)[#>*`~_|]+|[#>*`~_|]+(?!\w)")
_LABEL = re.compile(r"^(?:title|titel|titre|título)\s*[:：]\s*", re.IGNORECASE)
# Reasoning in the text: some upstreams take the tag at its beginning away, some cut it off.
_THOUGHT = re.compile(r"\A.*</think(?:ing)?>|<think(?:ing)?>.*\Z", re.DOTALL | re.IGNORECASE)
_QUOTES = "\"'“”„‘’«»*_`# "


def from_words(message: str) -> str:
    """The first words of a message, in one line; empty when there are none."""
    return _shortened(_MARKUP.sub("", message[:ENOUGH]))


def from_answer(answer: str) -> str:
    """The title in a model's answer, without reasoning before it, and quotes and labels around it; maybe empty."""
    answer = _THOUGHT.sub("", answer)
    first = next((line.strip() for line in answer.splitlines() if line.strip(_QUOTES)), "")
    return _shortened(_LABEL.sub("", first.strip(_QUOTES)).strip(_QUOTES).rstrip("."))


def request(message: str) -> str:
    """The prompt for a title of the conversation that begins with ``message``."""
    return (
        "Name the conversation that begins with the message below. Answer with a title of at most six words in the "
        f"language of the message, and with nothing else.\n\n<message>\n{message[:ENOUGH]}\n</message>"
    )


def _shortened(text: str) -> str:
    text = single_line(text)
    if len(text) <= LONGEST:
        return text
    begin = cut(text, LONGEST - 1)
    words = begin.rpartition(" ")[0]
    return (words if len(words) > LONGEST // 2 else begin).rstrip(" ,;:.-") + "…"
