"""A program that uses the service through its proxy: requests, and a reader that follows an answer and comes back."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(url: str, token: str = "", body: Any = None, seconds: float = 60) -> tuple[int, Any]:
    """The status and the body of a request; status 0 without a reply."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    data = None if body is None else json.dumps(body).encode()
    try:
        with OPENER.open(urllib.request.Request(url, data, headers), timeout=seconds) as response:
            return response.status, _read(response.read())
    except urllib.error.HTTPError as error:
        return error.code, _read(error.read())
    except OSError as error:
        return 0, str(error)


def _read(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.decode(errors="replace")


@dataclass
class Reader:
    """Follows one answer and resumes from its cursor until `done` or the deadline."""

    url: str
    token: str
    text: str = ""
    cursor: str = "0-0"
    reasons: list[str] = field(default_factory=list)
    status: str = ""

    def follow(self, generation: str, seconds: float, until_chars: int | None = None) -> None:
        """Read to the end, or until the text has ``until_chars`` characters."""
        deadline = time.monotonic() + seconds
        while not self.status and time.monotonic() < deadline:
            try:
                self._read_once(f"{self.url}/api/v1/generations/{generation}/stream", deadline, until_chars)
            except OSError:
                time.sleep(0.3)
            if until_chars is not None and len(self.text) >= until_chars:
                return

    def _read_once(self, address: str, deadline: float, until_chars: int | None) -> None:
        headers = {"Authorization": f"Bearer {self.token}", "Last-Event-ID": self.cursor}
        with OPENER.open(urllib.request.Request(address, headers=headers), timeout=40) as stream:
            event: dict[str, Any] = {}
            for raw in stream:
                line = raw.decode().rstrip("\r\n")
                if line.startswith("data: "):
                    event = json.loads(line[6:])
                elif line.startswith("id: "):
                    self.cursor = line[4:]
                elif not line and event:
                    self._take(event)
                    event = {}
                    is_enough = until_chars is not None and len(self.text) >= until_chars
                    if self.status or is_enough or time.monotonic() > deadline:
                        return

    def _take(self, event: dict[str, Any]) -> None:
        if event["type"] == "snapshot":
            self.text = event["text"]
            self.reasons.append(event["reason"])
        elif event["type"] == "token":
            self.text += event["content"]
        elif event["type"] == "done":
            self.status = event["status"]
