"""One answer whose first target is cut at a place of its stream, and everything that must hold of it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from app.domain.cursor import Cursor
from app.domain.events import Snapshot, decode
from app.domain.transcript import Transcript, digest
from tests.failover.rig import KINDS, Rig
from tests.fakes.upstream import TOKEN

TOKENS = 60
PAIRS = tuple((first, second) for first in KINDS for second in KINDS)


@dataclass(frozen=True)
class Case:
    """The cut of a target of the kind ``first``; one of the kind ``second`` goes on as ``policy`` says.

    OpenAI's protocol is cut behind ``place`` tokens, the others before the event number ``place`` of their stream.
    """

    first: str
    second: str
    place: int
    policy: str = "continue"

    @property
    def model(self) -> str:
        """The name of the case's model."""
        return f"{self.first}-{self.second}-{self.policy}-{self.place}"

    @property
    def cut(self) -> str:
        """The upstream's name of the model that is cut."""
        fault = "cut_after" if self.first == "openai" else "cut_at_event"
        return f"fake?tokens={TOKENS}&rate=0&linger=0.15&{fault}={self.place}"


def every_case() -> Iterator[Case]:
    """Every pair of kinds, cut at every event: some places lie behind the end of a stream."""
    for first, second in PAIRS:
        last = {"openai": TOKENS, "anthropic": TOKENS + 8, "gemini": TOKENS + 2}[first]
        for place in range(last + 1):
            yield Case(first, second, place, "restart" if place % 5 == 4 else "continue")


def run(rig: Rig, case: Case, url: str) -> str:
    """Run a case with two readers. Returns how it went: ``before``, ``failover`` or ``whole``."""
    stack = rig.stack
    rest = f"fake?tokens={TOKENS}&rate=0&key={case.model}"
    rig.model(case.model, (f"a-{case.first}", case.cut), (f"b-{case.second}", rest), on_interruption=[case.policy])
    body = {"message": f"Count {case.model}", "model": case.model, "stream": True}
    live = list(events(url, "POST", "/api/v1/generations", stack.token(), body))
    generation = next(event["generation_id"] for _, event in live if event["type"] == "open")
    late = list(events(url, "GET", f"/api/v1/generations/{generation}/stream?after=0-0", stack.token()))
    row = stack.finished(generation)
    assert row.status == "completed", (case, row.error, row.attempts)
    texts = {folded(live), folded(late), stack.transcript(generation).text}
    message = stack.resources.conversations.messages(stack.user, row.conversation_id, 1, 1).items[0]
    assert texts == {message.content}, (case, texts)
    assert digest(message.content) == row.sha256
    return judge(rig, case, row, message.content)


def judge(rig: Rig, case: Case, row: Any, text: str) -> str:
    """Check the attempts, the epochs and the tokens of an ended case. Returns how it went."""
    logged = [decode(entry.payload) for entry in rig.stack.read(row.id)]
    reasons = [event.reason for event in logged if isinstance(event, Snapshot)]
    targets = [attempt["target"].partition("/")[0] for attempt in row.attempts]
    indices = [int(index) for _, index in TOKEN.findall(text)]
    assert indices == list(range(TOKENS)), (case, indices)
    outcomes = [attempt["outcome"] for attempt in row.attempts]
    if len(row.attempts) == 1:
        # The cut came behind the sign that the answer is whole.
        assert (outcomes, reasons, row.epoch) == (["finished"], ["start"], 1), (case, row.attempts)
        return "whole"
    assert targets == [f"a-{case.first}", f"b-{case.second}"], (case, row.attempts)
    assert outcomes[1] == "finished"
    assert outcomes[0] != "finished"
    assert all(attempt["usage"] for attempt in row.attempts if attempt["visible"]), (case, row.attempts)
    total = sum(attempt["usage"]["output_tokens"] for attempt in row.attempts if attempt["usage"])
    assert row.usage["output_tokens"] == total, case
    if not row.attempts[0]["visible"]:
        assert (reasons, row.epoch) == (["start"], 1), (case, reasons)
        return "before"
    assert (reasons, row.epoch) == (["start", "failover"], 2), (case, reasons)
    return "failover"


def events(url: str, method: str, path: str, token: str, body: Any = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of a stream, each with its id, to the end of the body."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Accept": "text/event-stream"}
    connection.request(method, path, json.dumps(body) if body else None, headers)
    response = connection.getresponse()
    assert response.status == 200, response.read()
    data: dict[str, Any] = {}
    for line in response:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "data":
            data = json.loads(value)
            if data["type"] in ("open", "queued", "title"):
                yield "", data
        elif name == "id":
            yield value, data
    connection.close()


def folded(read: list[tuple[str, dict[str, Any]]]) -> str:
    """The text of a reader that follows the events."""
    said = Transcript()
    for position, event in read:
        if position:
            said.add(Cursor(*map(int, position.split("-"))), decode(json.dumps(event).encode()))
    assert said.done is not None
    return said.text
