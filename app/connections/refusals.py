"""Refusals of the web server itself, before the application sees a request, in the application's own forms."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson
from gunicorn.http import errors
from gunicorn.util import http_date
from uuid_utils import uuid7


class RequestLine(NamedTuple):
    """Method and path of a request that is refused, as far as they have come."""

    method: str = ""
    path: str = ""


class Refusal(Exception):  # it is an answer
    """A status and a sentence. ``about`` is the part of the request, or the variable, that the sentence is about."""

    def __init__(
        self, status: int, detail: str, about: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.about = about
        self.headers = headers or {}

    def response(self, line: RequestLine) -> bytes:
        """The whole response, without a body where the method is HEAD; the connection ends behind it."""
        request_id = str(uuid7())
        openai = line.path.startswith("/v1/")
        content_type = "application/json" if openai else "application/problem+json"
        body = orjson.dumps(self._openai() if openai else self._problem(request_id))
        phrase = HTTPStatus(self.status).phrase
        headers = {
            "Date": http_date(),
            "Connection": "close",
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "x-request-id": request_id,
            **self.headers,
        }
        lines = [f"HTTP/1.1 {self.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        return head if line.method == "HEAD" else head + body

    def _problem(self, request_id: str) -> dict[str, Any]:
        phrase = HTTPStatus(self.status).phrase
        return {
            "type": f"/problems/{phrase.lower().replace(' ', '-')}",
            "title": phrase,
            "status": self.status,
            "detail": self.detail,
            "errors": [{"field": self.about, "detail": self.detail}] if self.about else [],
            "request_id": request_id,
        }

    def _openai(self) -> dict[str, Any]:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.detail, "type": kind, "param": self.about, "code": None}}


def refusal_of(error: BaseException) -> Refusal:
    """The refusal for an error of the server's parser."""
    if isinstance(error, Refusal):
        return error
    for kind, status, detail in _KINDS:
        if isinstance(error, kind):
            return Refusal(status, detail)
    return Refusal(500, "Something went wrong here.")


# The first class that fits counts.
_KINDS: tuple[tuple[type[BaseException], int, str], ...] = (
    (errors.LimitRequestLine, 414, "The address of the request is too long."),
    (errors.LimitRequestHeaders, 431, "The header of the request has too many fields, or one that is too long."),
    (errors.UnsupportedTransferCoding, 501, "Transfer-Encoding has a coding that is not supported here."),
    (errors.ExpectationFailed, 417, "Expect can only be 100-continue."),
    (errors.InvalidHTTPVersion, 505, "Only HTTP/1.0 and HTTP/1.1 are spoken here."),
    (errors.InvalidRequestMethod, 400, "The method of the request cannot be read."),
    (errors.InvalidRequestLine, 400, "The first line of the request cannot be read."),
    (errors.InvalidChunkSize, 400, "The size of a chunk of the body cannot be read."),
    (errors.InvalidChunkExtension, 400, "The extension of a chunk of the body cannot be read."),
    (errors.ChunkMissingTerminator, 400, "A chunk of the body does not end where its size says."),
    (errors.NoMoreData, 400, "The request ended before it was complete."),
    (errors.ConfigurationProblem, 500, "Something went wrong here."),
    (errors.ParseException, 400, "The header of the request cannot be read."),
)
