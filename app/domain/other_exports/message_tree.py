"""The messages of another program's conversation, as a tree, and the order in which they are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from app.domain.single_line import cut, single_line

# In the place of a file, which no export of another program contains.
MISSING_IMAGE = "[Image: not in the export]"
MISSING_FILE = "[File: not in the export]"
_FIRST_TIME = datetime(1970, 1, 1, tzinfo=UTC)


class UnreadableExport(Exception):
    """This is no conversation of a known export; the message says why."""


@dataclass(frozen=True, slots=True)
class Node:
    """A message under an id of the other program. ``role`` None: it is not shown, and its followers follow its parent.

    The ``reasoning`` of a message that is not shown belongs to the answer that follows, the newest of several.
    ``at``: seconds since 1970.
    """

    parent: str | None
    role: Literal["user", "assistant"] | None = None
    content: str = ""
    reasoning: str = ""
    model: str | None = None
    at: float | None = None


@dataclass(slots=True)
class KeptMessage:
    """A message to keep. ``parent``: the number of the message it follows, from 1; None: it is a first one."""

    parent: int | None
    role: Literal["user", "assistant"]
    content: str
    reasoning: str
    model: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class KeptConversation:
    """A conversation to keep. ``id`` is the other program's. Its times lie between 1970 and now."""

    source: Literal["chatgpt", "librechat"]
    id: str
    title: str | None
    created_at: datetime
    messages: Sequence[KeptMessage]
    archived: bool = False
    pinned: bool = False
    system_prompt: str | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in the walk. ``after``: the number of the kept message before it; ``thoughts``: reasoning since then.

    No other place has these thoughts, so each text of an export is kept once. ``alone``: no message since then has a
    second follower.
    """

    id: str
    after: int | None
    thoughts: list[str]
    alone: bool


@dataclass(slots=True)
class _Draft:
    """A message to keep, as the pieces that are joined once, at the end: an answer may have thousands of steps."""

    parent: int | None
    role: Literal["user", "assistant"]
    content: list[str]
    reasoning: list[str]
    model: str | None
    created_at: datetime

    def joined(self) -> KeptMessage:
        content, reasoning = "\n\n".join(self.content), "\n\n".join(self.reasoning)
        return KeptMessage(self.parent, self.role, content, reasoning, self.model, self.created_at)


def ordered(nodes: Mapping[str, Node], newest: str | None, begun: datetime) -> list[KeptMessage]:
    """The messages that are shown, each behind its parent. The branch with ``newest`` comes last, so it is the newest.

    Answers that follow each other without a branch between them are one answer: a program stores each step of one.
    The messages together have the characters of the nodes and the blank lines between them, and no more.
    """
    followers = _followers(nodes, _way_to(nodes, newest))
    kept: list[_Draft] = []
    seen: set[str] = set()
    places = [_Place(root, None, [], False) for root in reversed(followers.get(None, []))]
    while places:
        place = places.pop()
        if place.id in seen:
            continue
        seen.add(place.id)
        after, thoughts = _keep(kept, nodes[place.id], place, begun)
        following = followers.get(place.id, [])
        alone = len(following) == 1 and (place.alone or after != place.after)
        # The last one has the thoughts: it is on the branch with the newest message, if one of them is.
        last = len(following) - 1
        places += [_Place(following[n], after, thoughts if n == last else [], alone) for n in range(last, -1, -1)]
    return [draft.joined() for draft in kept]


def _keep(kept: list[_Draft], node: Node, place: _Place, begun: datetime) -> tuple[int | None, list[str]]:
    """Keep a message, if it is shown. Returns the number of the message that followers follow, and its thoughts."""
    thoughts = place.thoughts
    if node.reasoning:
        thoughts.append(node.reasoning)
    if node.role is None or not node.content.strip():
        return place.after, thoughts
    before = kept[place.after - 1] if place.after else None
    if node.role == "assistant" and before is not None and before.role == "assistant" and place.alone:
        before.content.append(node.content)
        before.reasoning += thoughts
        before.model = node.model or before.model
        return place.after, []
    at = moment(node.at) or (before.created_at if before else begun)
    if node.role == "user":
        kept.append(_Draft(place.after, "user", [node.content], [], None, at))
        return len(kept), thoughts
    kept.append(_Draft(place.after, "assistant", [node.content], thoughts, node.model, at))
    return len(kept), []


def _followers(nodes: Mapping[str, Node], way: set[str]) -> dict[str | None, list[str]]:
    """The ids that follow each id, in order; those on the way come last. Under None the first messages."""
    found: dict[str | None, list[str]] = {}
    for id_, node in nodes.items():
        found.setdefault(node.parent if node.parent in nodes else None, []).append(id_)
    return {parent: sorted(ids, key=way.__contains__) for parent, ids in found.items()}


def _way_to(nodes: Mapping[str, Node], id_: str | None) -> set[str]:
    way: set[str] = set()
    while id_ is not None and id_ in nodes and id_ not in way:
        way.add(id_)
        id_ = nodes[id_].parent
    return way


def moment(seconds: Any) -> datetime | None:
    """A time in seconds since 1970; None for a value that is none, or that lies in the future."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return None
    # Neither infinity nor a number that is none lies between them, and an integer of any length can be compared.
    if not 0 <= seconds <= datetime.now(UTC).timestamp():
        return None
    return _FIRST_TIME + timedelta(seconds=seconds)


def text_of(value: Any) -> str:
    """A text that can be stored; empty for a value that is none."""
    if not isinstance(value, str):
        return ""
    return value.replace("\0", "").encode("utf-8", "replace").decode()


def line_of(value: Any, longest: int = 200) -> str | None:
    """A text of one line; None for a value that is none."""
    return cut(single_line(text_of(value)), longest) or None


def dicts_in(value: Any) -> Iterator[dict[str, Any]]:
    """The objects of a list; nothing for a value that is none."""
    if isinstance(value, list):
        yield from (one for one in value if isinstance(one, dict))


def dict_in(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object under a name; an empty one where there is none."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}
