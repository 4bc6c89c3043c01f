"""The proof that the instance works: a generation that is created, runs and ends, over HTTP."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any

USER = "readiness-probe"
TERMINAL = {"completed", "error", "cancelled"}
# The proxies of the environment are not used: the instance is on this machine.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class NotYet(Exception):
    """The instance is not ready; the message names the missing part."""


class Proof(threading.Thread):
    """A thread that tries until a generation has ended. `done` and `reason` may be read at any time.

    `token` makes a fresh token; without it only /readyz is checked, because tokens are signed elsewhere.
    """

    def __init__(self, url: str, token: Callable[[], str] | None) -> None:
        super().__init__(name="proof", daemon=True)
        self.done = False
        self.reason = "nothing was tried yet"
        self._url = url
        self._token = token

    def run(self) -> None:
        while not self.done:
            try:
                self._ask_readyz()
                if self._token is not None:
                    self._run_generation(self._token())
                self.done = True
            except (NotYet, LookupError, TypeError) as missing:
                # KeyError and TypeError: a reply of another shape than the contract's.
                self.reason = str(missing)
                time.sleep(0.1)

    def _ask_readyz(self) -> None:
        self._call("GET", "/readyz", timeout=5)

    def _run_generation(self, token: str) -> None:
        started = self._call("POST", "/api/v1/generations", token, {"message": "ping", "model": "offline-fast"})
        try:
            self._wait_for(started["generation"]["id"], token)
        finally:
            with suppress(NotYet):
                self._call("DELETE", f"/api/v1/conversations/{started['conversation']['id']}", token)

    def _wait_for(self, generation: str, token: str) -> None:
        status = "queued"
        deadline = time.monotonic() + 60
        while status not in TERMINAL:
            if time.monotonic() > deadline:
                raise NotYet(f"a generation stayed {status} for a minute")
            self.reason = f"a generation is {status}"
            time.sleep(0.05)
            with suppress(NotYet):
                status = self._call("GET", f"/api/v1/generations/{generation}", token)["status"]
        if status != "completed":
            # The proof keeps to the limit on new conversations.
            time.sleep(6)
            raise NotYet(f"a generation ended as {status}")

    def _call(self, method: str, path: str, token: str = "", body: Any = None, timeout: float = 10) -> Any:
        """The answer's JSON, or None. Raises NotYet when there is none or it is an error."""
        request = urllib.request.Request(self._url + path, method=method)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        try:
            with OPENER.open(request, timeout=timeout) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            if error.code == 429:
                time.sleep(6)
            raise NotYet(f"{method} {path} answered {error.code}: {error.read(500).decode(errors='replace')}") from None
        except (OSError, ValueError) as error:
            raise NotYet(f"{method} {path} got no answer: {error}") from None
        with suppress(ValueError):
            return json.loads(text)
        return None
