"""The parts of a client that are neither synchronous nor asynchronous: its requests, and the progress of a follower."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote
from uuid import uuid4

from unbroken_client.attempts import Attempts
from unbroken_client.errors import ConnectionLost, TooLarge
from unbroken_client.events import Event, Final
from unbroken_client.frames import Frame
from unbroken_client.resources import Generation, StartFields
from unbroken_client.transcript import START, Transcript, compare

GENERATIONS = "/api/v1/generations"


@dataclass(frozen=True, slots=True)
class Request:
    """A request that may be repeated. ``wait``: the seconds that the service may hold it."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    wait: float = 0.0


def start(message: str, key: str | None, fields: StartFields) -> Request:
    """The request that starts an answer. Its key makes it safe to repeat."""
    headers = {"Idempotency-Key": key or str(uuid4())}
    return Request("POST", GENERATIONS, headers, body={"message": message, **fields, "stream": False})


def poll(generation_id: str, after: str | None = None, wait: float = 0.0) -> Request:
    """The request for an answer as it is, or as it is after at most ``wait`` seconds."""
    params = {**({"after": after} if after is not None else {}), **({"wait": str(wait)} if wait else {})}
    return Request("GET", path_of(generation_id), params=params, wait=wait)


def cancel(generation_id: str) -> Request:
    """The request that cancels an answer."""
    return Request("POST", f"{path_of(generation_id)}/cancel")


def path_of(generation_id: str) -> str:
    """The path of an answer."""
    return f"{GENERATIONS}/{quote(generation_id, safe='')}"


def check_url(url: str) -> str:
    """The address of a service. Raises ValueError for another text."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no address: it begins with http:// or https://")
    return url


class Body:
    """The JSON of a reply, collected up to a number of bytes."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self.content = bytearray()

    def add(self, chunk: bytes) -> None:
        """Add a piece. Raises TooLarge."""
        self.content += chunk
        if len(self.content) > self._largest:
            raise TooLarge(f"a reply has more than {self._largest} bytes")

    def json(self) -> Any:
        """The value. Raises ConnectionLost for a text that is no JSON, as a proxy may send it."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            raise ConnectionLost("the reply is no JSON") from None


class Reading:
    """The progress of a follower.

    ``is_over``: no event is left on the stream. ``is_finished``: beyond that, the text was compared with the service's.
    """

    def __init__(self, generation_id: str, after: str, transcript: Transcript | None, attempts: Attempts) -> None:
        self.generation_id = generation_id
        self.cursor = after
        self.transcript = transcript or Transcript()
        self.attempts = attempts
        self.is_over = False
        self.is_finished = False
        self._is_whole = after == START or transcript is not None

    def request(self) -> Request:
        """The request for the events behind the cursor."""
        resume = {} if self.cursor == START else {"Last-Event-ID": self.cursor}
        return Request("GET", f"{path_of(self.generation_id)}/stream", {"Accept": "text/event-stream", **resume})

    def receive(self, frame: Frame) -> Event | None:
        """The event of a frame; None for a repeat. Raises ConnectionLost where events are missing."""
        body = _parsed(frame)
        if body["type"] == "auth":
            raise ConnectionLost(f"the stream was ended: {body.get('detail', '')}")
        if frame.id:
            place = compare(self.cursor, frame.id)
            if place == "repeat":
                return None
            if place == "hole":
                raise ConnectionLost(f"events are missing between {self.cursor} and {frame.id}")
            body["id"] = self.cursor = frame.id
            self.attempts.progress()
        event = cast(Event, body)
        self.transcript.add(event)
        self.is_over = event["type"] == "done"
        return event

    @property
    def is_right(self) -> bool:
        """The text is that of the service, as far as the events tell. Only a whole text can be compared."""
        done = self.transcript.done
        return done is not None and (not self._is_whole or self.transcript.sha256 == done["sha256"])

    def replace(self, generation: Generation) -> Event:
        """The event with the whole answer."""
        event: Final = {"type": "final", "generation": generation}
        self.transcript.add(event)
        return event


def _parsed(frame: Frame) -> dict[str, Any]:
    try:
        body = json.loads(frame.data)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or "type" not in body:
        raise ConnectionLost("an event cannot be read")
    return body
