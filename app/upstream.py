"""What models the configured upstream offers. Only a list: generating is the worker's business."""

from __future__ import annotations

import json
import time
import urllib.request
from threading import Lock

import structlog

_FRESH_SECONDS = 300
_RETRY_SECONDS = 10
_TIMEOUT_SECONDS = 3
_MOST_BYTES = 4_000_000

_log = structlog.get_logger()


class Upstream:
    """The model list of an OpenAI-compatible server, remembered for some minutes, stale rather than absent."""

    def __init__(self, base_url: str, api_key: str | None) -> None:
        self._url = base_url.rstrip("/") + "/models"
        self._api_key = api_key
        self._lock = Lock()
        self._names: list[str] = []
        self._ask_again = 0.0

    def models(self) -> list[str]:
        """The upstream's model names in its order; empty when it has never answered."""
        with self._lock:
            if time.monotonic() >= self._ask_again:
                self._refresh()
            return self._names

    def _refresh(self) -> None:
        try:
            self._names = self._fetch()
            self._ask_again = time.monotonic() + _FRESH_SECONDS
        except Exception as error:  # an upstream may answer anything at all
            self._ask_again = time.monotonic() + _RETRY_SECONDS
            _log.warning("upstream lists no models", action="list_models", error=type(error).__name__)

    def _fetch(self) -> list[str]:
        headers = {"Accept": "application/json"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        request = urllib.request.Request(self._url, headers=headers)
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            body = json.loads(answer.read(_MOST_BYTES))
        return [str(entry["id"]) for entry in body["data"]]
