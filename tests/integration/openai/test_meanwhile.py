"""Two requests at once on the OpenAI-compatible routes: neither undoes the other's change, and neither fails."""

from __future__ import annotations

from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
from flask_openapi3.openapi import OpenAPI

from app.api.web_process import WebProcess
from app.domain.events import Mark, Token
from app.relay import topics
from app.services.finishing import Ending
from app.store import conversations
from app.wiring import Resources
from tests.actors import before_statement, somebody_waits
from tests.integration.api.conftest import Hand, Person, app, process, resources, settings
from tests.stack import until

__all__ = ["app", "process", "resources", "settings"]


@pytest.fixture
def alice(app: OpenAPI) -> Person:
    return Person(app.test_client(), f"alice-{uuid4().hex[:8]}")


@pytest.fixture
def again(app: OpenAPI, alice: Person) -> Person:
    """Alice with a second client, for simultaneous requests."""
    return Person(app.test_client(), alice.subject)


class TestItems:
    def items(self, alice: Person, conversation: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = alice.get(f"/v1/conversations/{conversation}/items?order=asc").json["data"]
        return found

    def texts(self, alice: Person, conversation: str) -> list[str]:
        return [item["content"][0]["text"] for item in self.items(alice, conversation)]

    def test_two_that_are_taken_out_of_one_message_at_once_are_both_gone(
        self, alice: Person, again: Person, process: WebProcess, resources: Resources
    ) -> None:
        said = [{"role": "user", "content": text} for text in ("one", "two", "three")]
        made = alice.post("/v1/conversations", json={"items": said}).json["id"]
        first, second, _ = self.items(alice, made)
        path = f"/v1/conversations/{made}/items/"
        answers = []

        def insist() -> None:
            # A wait for a lock ends after 3 s, and a machine may be busy for longer: the client retries after 503.
            while (answer := again.delete(path + second["id"])).status_code == 503:
                pass
            answers.append(answer)

        other = Thread(target=insist)

        def wait_for_the_other() -> None:
            other.start()
            until(lambda: not other.is_alive() or somebody_waits(resources), what="the other's turn, or its end")

        before_statement(process.resources, "UPDATE conversations SET history_version", wait_for_the_other)
        answers.append(alice.delete(path + first["id"]))
        other.join()
        assert [answer.status_code for answer in answers] == [200, 200]
        assert self.texts(alice, made) == ["three"]

    def test_one_that_is_taken_out_twice_at_once_is_not_there_for_the_second(
        self, alice: Person, again: Person, process: WebProcess
    ) -> None:
        said = [{"role": "user", "content": text} for text in ("one", "two")]
        made = alice.post("/v1/conversations", json={"items": said}).json["id"]
        first, _ = self.items(alice, made)
        path = f"/v1/conversations/{made}/items/{first['id']}"
        before_statement(process.resources, "SELECT id, model FROM conversations", lambda: again.delete(path))
        assert alice.delete(path).status_code == 404
        assert self.texts(alice, made) == ["two"]

    def test_one_whose_conversation_is_deleted_meanwhile_is_not_there(
        self, alice: Person, again: Person, process: WebProcess, resources: Resources
    ) -> None:
        made = alice.post("/v1/conversations", json={"items": [{"role": "user", "content": "one"}]}).json["id"]
        (item,) = self.items(alice, made)
        path = f"/v1/conversations/{made}"
        before_statement(process.resources, "SELECT id, model FROM conversations", lambda: again.delete(path))
        assert alice.delete(f"{path}/items/{item['id']}").status_code == 404


class TestCompletions:
    """Completions without a stream. Redis has lost the log, so only PostgreSQL has the end."""

    @pytest.fixture(autouse=True)
    def soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(topics, "IDLE_SECONDS", 0.5)

    def ask(self, alice: Person, answers: list[Any]) -> Thread:
        body = {"model": "offline", "messages": [{"role": "user", "content": "hi"}], "store": True}
        return Thread(target=lambda: answers.append(alice.post("/v1/chat/completions", json=body)))

    def begun(self, again: Person, resources: Resources) -> tuple[str, Hand]:
        """The id of the conversation that was just begun, and a worker that has appended two tokens to its answer."""
        (found,) = until(lambda: again.get("/api/v1/conversations").json["items"], 60, "the conversation")
        status = again.get(f"/api/v1/conversations/{found['id']}/status").json
        hand = Hand(resources, status["generation_id"])
        hand.say(Token("Hel"), Token("lo"))
        return found["id"], hand

    def lose(self, resources: Resources, hand: Hand) -> None:
        keys = resources.log.keys(hand.id)
        resources.redis.delete(keys.log, keys.meta)

    def test_one_that_was_heard_to_its_end_is_told_although_it_is_deleted_then(
        self, alice: Person, again: Person, process: WebProcess, resources: Resources
    ) -> None:
        answers: list[Any] = []
        asking = self.ask(alice, answers)
        asking.start()
        conversation, hand = self.begun(again, resources)
        path = f"/api/v1/conversations/{conversation}"
        before_statement(process.resources, "FROM generation_archives", lambda: again.delete(path), by=asking)
        hand.say(Mark("stop", {}))
        self.lose(resources, hand)
        hand.resources.finisher.finish(hand.claimed, hand.payloads, hand.transcript, Ending("completed", "stop"), [])
        asking.join()
        assert answers[0].status_code == 200, answers[0].text
        assert answers[0].json["choices"][0]["message"]["content"] == "Hello"

    def test_one_that_is_deleted_before_its_end_is_heard_is_not_found(
        self, alice: Person, again: Person, resources: Resources
    ) -> None:
        answers: list[Any] = []
        asking = self.ask(alice, answers)
        asking.start()
        conversation, hand = self.begun(again, resources)
        self.lose(resources, hand)
        with resources.database.system() as tx:
            conversations.delete(tx, conversation)
        asking.join()
        assert answers[0].status_code == 404, answers[0].text
        assert answers[0].json["error"]["message"]
