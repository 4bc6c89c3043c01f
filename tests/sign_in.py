"""Browsers of tests: each has the cookies of its own, and signs in with a link that is made for it."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.services.sign_in_links import PATH, new_code
from app.store import sign_in_codes
from tests.logins import as_administrator

HERE = "http://localhost"


def make_code(database_url: str, subject: str, role: str | None = None, seconds: float = 60) -> str:
    """A code for a link, made as the operator makes one."""
    code = new_code()
    sign_in_codes.add(as_administrator(database_url), code, subject, role, seconds)
    return code


class Browser:
    """A browser at one address of the service. It sends the Origin of its page with each request that is not a GET."""

    def __init__(self, app: Flask, base: str = HERE, agent: str = "Test/1.0") -> None:
        self.client: FlaskClient = app.test_client()
        self.base = base
        self.agent = agent

    def sign_in(self, code: str) -> TestResponse:
        """Press the button of a link's page."""
        return self.post(PATH + code)

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.open("GET", path, headers=headers)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self.open("POST", path, **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        return self.open("DELETE", path, **options)

    def open(self, method: str, path: str, headers: dict[str, str] | None = None, **options: Any) -> TestResponse:
        """Send a request; ``headers`` replace those of a browser, and an empty one leaves it out."""
        sent = {"User-Agent": self.agent, **({} if method == "GET" else {"Origin": self.base}), **(headers or {})}
        sent = {name: value for name, value in sent.items() if value}
        return self.client.open(path, method=method, base_url=self.base, headers=sent, **options)

    @property
    def secret(self) -> str | None:
        """The value of the session cookie, under whichever name."""
        cookies = (
            self.client.get_cookie(name, self.base.partition("://")[2]) for name in ("__Host-session", "session")
        )
        return next((cookie.value for cookie in cookies if cookie), None)
