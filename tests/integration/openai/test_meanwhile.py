"""What somebody else does while one of the OpenAI-compatible routes answers: nothing is undone, and nothing fails."""

from __future__ import annotations

from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
from flask_openapi3.openapi import OpenAPI

from app.wiring import Resources
from tests.actors import before_statement, somebody_waits
from tests.integration.api.conftest import Person, app, process, resources, settings
from tests.stack import until

__all__ = ["app", "process", "resources", "settings"]


@pytest.fixture
def alice(app: OpenAPI) -> Person:
    return Person(app.test_client(), f"alice-{uuid4().hex[:8]}")


@pytest.fixture
def again(app: OpenAPI, alice: Person) -> Person:
    """The same user, at the same time."""
    return Person(app.test_client(), alice.subject)


class TestItems:
    def items(self, alice: Person, conversation: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = alice.get(f"/v1/conversations/{conversation}/items?order=asc").json["data"]
        return found

    def texts(self, alice: Person, conversation: str) -> list[str]:
        return [item["content"][0]["text"] for item in self.items(alice, conversation)]

    def test_two_that_are_taken_out_of_one_message_at_once_are_both_gone(
        self, alice: Person, again: Person, resources: Resources
    ) -> None:
        said = [{"role": "user", "content": text} for text in ("one", "two", "three")]
        made = alice.post("/v1/conversations", json={"items": said}).json["id"]
        first, second, _ = self.items(alice, made)
        path = f"/v1/conversations/{made}/items/"
        answers = []
        other = Thread(target=lambda: answers.append(again.delete(path + second["id"])))

        def wait_for_the_other() -> None:
            other.start()
            until(lambda: not other.is_alive() or somebody_waits(resources), what="the other's turn, or its end")

        before_statement(resources, "UPDATE conversations SET history_version", wait_for_the_other)
        answers.append(alice.delete(path + first["id"]))
        other.join()
        assert [answer.status_code for answer in answers] == [200, 200]
        assert self.texts(alice, made) == ["three"]

    def test_one_that_is_taken_out_twice_at_once_is_not_there_for_the_second(
        self, alice: Person, again: Person, resources: Resources
    ) -> None:
        said = [{"role": "user", "content": text} for text in ("one", "two")]
        made = alice.post("/v1/conversations", json={"items": said}).json["id"]
        first, _ = self.items(alice, made)
        path = f"/v1/conversations/{made}/items/{first['id']}"
        before_statement(resources, "SELECT id, model FROM conversations", lambda: again.delete(path))
        assert alice.delete(path).status_code == 404
        assert self.texts(alice, made) == ["two"]

    def test_one_whose_conversation_is_deleted_meanwhile_is_not_there(
        self, alice: Person, again: Person, resources: Resources
    ) -> None:
        made = alice.post("/v1/conversations", json={"items": [{"role": "user", "content": "one"}]}).json["id"]
        (item,) = self.items(alice, made)
        path = f"/v1/conversations/{made}"
        before_statement(resources, "SELECT id, model FROM conversations", lambda: again.delete(path))
        assert alice.delete(f"{path}/items/{item['id']}").status_code == 404
