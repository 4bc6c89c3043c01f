"""The words of the built-in model: Markdown about the prompt, chosen by dice that the caller seeds. Pure."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

from worker.providers.base import ChatMessage
from worker.providers.parts import FilePart

# Only what would be taken for markup, so that ordinary words, names and ids stay as they were typed.
_INLINE = re.compile(r"[\\`*\[\]|~<]|(?<![^\W_])_|_(?![^\W_])|&(?=#|\w+;)")
_BLOCK = re.compile(r"^(\s*)(#{1,6}(?=\s|$)|>|[-+](?=\s|$)|[-=]+(?=\s*$)|\d+(?=[.)](?:\s|$)))")
_WORD = re.compile(r"[^\W\d_]{4,}")

_GREETINGS = (
    "Thanks for writing! I am the **built-in offline model** of this installation.",
    "Good to hear from you. This is the **built-in offline model** speaking.",
    "Hello! You have reached the **built-in offline model**.",
)
_HONESTY = (
    (
        "I run inside the worker, without a network and without a key, so I cannot *really* think about your question. "
        "What I can do is answer every time, at a steady pace, and always in the same words for the same conversation."
    ),
    (
        "No neural network was involved in this answer: I am a few hundred lines of Python that always say the same "
        "thing to the same conversation. That makes me *dull company*, but an excellent companion for tests."
    ),
)
_POINTS = (
    "**Your words**: everything you wrote reached the worker unchanged, including anything in an unusual script.",
    "**The stream**: each of these words is an event with a number, so nothing is lost when the connection breaks.",
    "**Reload the page** while I am talking; the answer carries on from exactly where you left it.",
    "**Open a second tab**: both will show the same text, *letter by letter*.",
    "**Press stop** whenever you have seen enough; the part you have read is kept.",
    "**Restart the worker**, if you are brave. Another one takes over and finishes my sentence.",
    "**Close the laptop** and come back tomorrow: the whole answer will be waiting in the history.",
)
_CODE = (
    (
        "python",
        (
            'def greet(name: str) -> str:\n    """Say hello, politely."""\n    return f"Hello, {name}!"\n\n\n'
            "for visitor in ($WORDS):\n    print(greet(visitor))"
        ),
    ),
    (
        "javascript",
        (
            "const topics = [$WORDS];\n\nfor (const [index, topic] of topics.entries()) {\n"
            "  console.log(`${index + 1}. ${topic}`);\n}"
        ),
    ),
    (
        "sql",
        (
            "SELECT topic, count(*) AS mentions\nFROM (VALUES $ROWS) AS words (topic)\nGROUP BY topic\n"
            "ORDER BY mentions DESC, topic;"
        ),
    ),
)
_NEXT = (
    "Set `OPENAI_BASE_URL` and `OPENAI_API_KEY` to let a real model answer; nothing else has to change.",
    "Ask me something longer, and watch the table above change its numbers.",
    "Write *think* anywhere in your message to see how reasoning is shown.",
    "Edit your message to branch the conversation, or ask for the answer again.",
)
_ASIDES = (
    (
        "A stream that can be interrupted at any point and still arrives complete is mostly a matter of bookkeeping: "
        "give every event a number, write it down before anybody relies on it, and never use a number twice."
    ),
    (
        "The text you are reading was cut into small pieces and sent at about forty of them a second. That is close to "
        "what a hosted model does, so the page has to work just as hard as it would with the real thing."
    ),
    (
        "If you are testing, here is a *small tip*: the same conversation always gets this same answer. Two runs can "
        "be compared character by character, and a single missing letter would be noticed."
    ),
    (
        "Should this machine lose its power right now, the part you have already seen can be read again afterwards, "
        "and the rest of the answer will be written by whichever worker comes up first."
    ),
)


def answer(messages: Sequence[ChatMessage], dice: Random) -> Iterator[str]:
    """Sections of Markdown, each ending in a blank line; endless, so the caller takes what it needs."""
    question = _question(messages)
    topics = _topics(question)
    yield f"# About “{_title(question)}”\n\n"
    yield f"{dice.choice(_GREETINGS)} {dice.choice(_HONESTY)}\n\n"
    yield f"You wrote:\n\n{_quote(question)}\n\n"
    if received := [*map(_received, _files(messages)), *_texts(messages)]:
        yield "## What I received\n\n" + _list(received) + "\n\n"
    yield "## What I noticed\n\n" + _list(dice.sample(_POINTS, 4)) + "\n\n"
    yield "## In numbers\n\n" + _table(question, messages) + "\n\n"
    yield f"## A piece of code\n\n{_code(topics, dice)}\n\n"
    yield "## What to try next\n\n" + _numbered(dice.sample(_NEXT, 3)) + "\n\n"
    yield f"{dice.choice(_ASIDES)}\n\n"
    part = 1
    while True:
        part += 1
        topic = topics[part % len(topics)]
        yield f"## Part {part}: {_escape(topic)}\n\n{dice.choice(_ASIDES)}\n\n"
        yield _list(dice.sample(_POINTS, 3)) + "\n\n"


def thoughts(messages: Sequence[ChatMessage], dice: Random) -> str:
    """A short plain text, as reasoning models produce before they answer."""
    question = _question(messages)
    topics = ", ".join(_topics(question)[:3])
    return (
        f"The user wrote {len(question)} characters; the words that stand out are: {topics}. I have no network, so I "
        f"cannot look anything up. {dice.choice(('A list and a table', 'A friendly overview'))} will be most useful. "
        "First I quote the message, then I describe what happens behind the scenes, and I end with something to try."
    )


def _question(messages: Sequence[ChatMessage]) -> str:
    return next((m.content for m in reversed(messages) if m.role == "user"), "")


def _files(messages: Sequence[ChatMessage]) -> tuple[FilePart, ...]:
    return next((m.files for m in reversed(messages) if m.role == "user"), ())


def _texts(messages: Sequence[ChatMessage]) -> Iterator[str]:
    """The first lines of the texts that came in the place of files."""
    for message in reversed(messages):
        if message.role == "user":
            for part in message.parts:
                if isinstance(part, str) and part != message.content:
                    yield f"{_escape(part.partition(chr(10))[0].strip('[]:'))} ({len(part):,} characters)"
            return


def _received(file: FilePart) -> str:
    """A file with its size and the beginning of its SHA-256: the reader sees that the bytes have come."""
    data = file.data or b""
    kind = "an image" if file.is_image else "a file"
    digest = hashlib.sha256(data).hexdigest()[:12]
    return f"**{_escape(file.filename)}**, {kind} of {len(data):,} bytes ({file.media_type}), SHA-256 `{digest}…`"


def _topics(question: str) -> list[str]:
    counts = Counter(word.lower()[:24] for word in _WORD.findall(question[:20_000]))
    return [word for word, _ in counts.most_common(5)] or ["hello", "world"]


def _title(question: str) -> str:
    line = " ".join(question.split())
    return _escape(_shorten(line, 60)) or "nothing at all"


def _quote(question: str) -> str:
    lines = _shorten(question.strip(), 400).splitlines() or [""]
    return "\n".join(f"> {_escape(line)}".rstrip() for line in lines)


def _list(points: Sequence[str]) -> str:
    return "\n".join(f"- {point}" for point in points)


def _numbered(points: Sequence[str]) -> str:
    return "\n".join(f"{number}. {point}" for number, point in enumerate(points, 1))


def _table(question: str, messages: Sequence[ChatMessage]) -> str:
    words = question.split()
    longest = max(words, key=len, default="")
    rows = (
        ("Messages in this conversation", str(len(messages))),
        ("Characters in your message", str(len(question))),
        ("Words in your message", str(len(words))),
        ("The longest of them", _escape(_shorten(longest, 40)) or "none"),
    )
    return "| Measure | Value |\n| --- | --- |\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


def _code(topics: Sequence[str], dice: Random) -> str:
    language, template = dice.choice(_CODE)
    words = ", ".join(f'"{topic}"' for topic in topics)
    rows = ", ".join(f"('{topic}')" for topic in topics)
    if language == "python" and len(topics) == 1:
        words += ","  # still a tuple
    code = template.replace("$WORDS", words).replace("$ROWS", rows)
    return f"```{language}\n{code}\n```"


def _escape(text: str) -> str:
    """Shown as typed: Markdown and HTML in the user's words are only characters here."""
    text = "".join(char if char.isprintable() else "\ufffd" for char in text)
    text = _INLINE.sub(lambda sign: f"\\{sign[0]}", text)
    return _BLOCK.sub(_escape_block, text)


def _escape_block(start: re.Match[str]) -> str:
    space, mark = start.groups()
    return f"{space}{mark}\\" if mark.isdecimal() else f"{space}\\{mark}"


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
