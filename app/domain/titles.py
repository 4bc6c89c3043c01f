"""What a conversation is called: from its first words, or from what a model said when it was asked. Pure."""

from __future__ import annotations

import re

# As long as a list of conversations can show in one line.
LONGEST = 60
# More than this of a message does not make its title better.
ENOUGH = 2000

# Signs around words; between two of them they mean what they say.
_MARKUP = re.compile(r"(?<!\w)[#>*`~_|]+|[#>*`~_|]+(?!\w)")
_LABEL = re.compile(r"^(?:title|titel|titre|título)\s*[:：]\s*", re.IGNORECASE)
_QUOTES = "\"'“”„‘’«»*_`# "


def from_words(message: str) -> str:
    """The first words of a message, in one line; empty when there are none."""
    return _shortened(_MARKUP.sub("", message[:ENOUGH]))


def from_answer(answer: str) -> str:
    """A title out of a model's answer, without what models put around it; empty when it said nothing."""
    first = next((line.strip() for line in answer.splitlines() if line.strip(_QUOTES)), "")
    return _shortened(_LABEL.sub("", first.strip(_QUOTES)).strip(_QUOTES).rstrip("."))


def request(message: str) -> str:
    """What a model is asked for a title of the conversation that begins with ``message``."""
    return (
        "Name the conversation that begins with the message below. Answer with a title of at most six words in the "
        f"language of the message, and with nothing else.\n\n<message>\n{message[:ENOUGH]}\n</message>"
    )


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    if len(text) <= LONGEST:
        return text
    cut = text[: LONGEST - 1]
    words = cut.rpartition(" ")[0]
    return (words if len(words) > LONGEST // 2 else cut).rstrip(" ,;:.-") + "…"
