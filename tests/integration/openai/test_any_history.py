"""Conversations that go through anything, in the real stores: the strictest upstream takes each prompt."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from flask_openapi3.openapi import OpenAPI
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from app.domain.events import Reasoning, Token, Tool
from app.services.finishing import Ending
from app.store import generations
from app.wiring import Resources
from tests.fakes import strict
from tests.integration.api.conftest import Hand, Person, app, make_app, make_settings, process, resources, settings
from worker.prompt import chat_messages
from worker.providers.base import Prompt
from worker.providers.chat.history import normal
from worker.providers.chat.request import request_body

__all__ = ["app", "make_app", "make_settings", "process", "resources", "settings"]

MODEL = "offline"
TEXTS = st.sampled_from(["", "Hi", " ", "Well: "])
ARGUMENTS = st.sampled_from(["{}", '{"a": 1}', '{"a": ', "[]"])
ROLES = st.sampled_from(["user", "user", "assistant", "system", "developer"])
PICKS = st.integers(0, 10**6)
# Calls of an answer: whether a worker ran the call, its id, its arguments, and the text before it.
CALLS = st.lists(st.tuples(st.booleans(), st.sampled_from(["call_0", "call_1"]), ARGUMENTS, TEXTS), max_size=3)


def prompt_of(resources: Resources, generation_id: str) -> list[dict[str, Any]]:
    """The messages that a provider is sent for a generation, read from the stores."""
    with resources.database.system() as tx:
        row = generations.get(tx, generation_id)
    assert row is not None
    turns = resources.history.context(row.conversation_id, row.user_message_id)
    said = normal(chat_messages(turns, ("Be kind.", None)))
    messages: list[dict[str, Any]] = request_body(Prompt("m", said))["messages"]
    return messages


class Conversations(RuleBasedStateMachine):
    """One user's conversation: sent to, answered, cancelled, failed, edited, with items deleted, imported."""

    app: OpenAPI
    resources: Resources

    def __init__(self) -> None:
        super().__init__()
        self.user = Person(self.app.test_client(), f"user-{uuid4().hex[:10]}")
        self.conversation: str | None = None
        self.answers: list[str] = []

    def send(self, path: str, body: Any = None, method: str = "post") -> Any:
        reply = getattr(self.user, method)(path, json=body)
        assert reply.status_code < 300, reply.text
        return reply.json

    def check(self, generation: dict[str, Any]) -> None:
        """Check the prompt of a generation that has begun."""
        self.conversation = generation["conversation_id"]
        messages = prompt_of(self.resources, generation["id"])
        assert json.dumps(messages) == json.dumps(prompt_of(self.resources, generation["id"]))
        if messages[-1]["role"] == "assistant":
            messages = [*messages, {"role": "user", "content": "x"}]
        strict.check(messages)

    def settle(self, generation: dict[str, Any], calls: Any, text: str, end: str) -> None:
        """Answer by hand, and end so."""
        self.check(generation)
        self.answers.append(generation["message_id"])
        if end == "cancelled early":
            self.send(f"/api/v1/generations/{generation['id']}/cancel")
            return
        hand = Hand(self.resources, generation["id"])
        hand.say(Reasoning("Hm. "))
        for n, (here, call_id, arguments, before) in enumerate(calls):
            known = f"{call_id}-{n}" if call_id in hand.transcript.tools else call_id
            hand.say(*([Token(before)] if before else []), Tool(known, "f", "started", arguments))
            if here:
                hand.say(Tool(known, "f", "finished", arguments, "1"))
        if text:
            hand.say(Token(text))
        hand.save()
        if end == "cancelled":
            self.send(f"/api/v1/generations/{generation['id']}/cancel")
        elif end == "completed":
            hand.finish()
        else:
            error = {"code": "upstream_error", "message": "no"}
            ending = Ending("error", "error", None, error)
            self.resources.finisher.finish(hand.claimed, hand.payloads, hand.transcript, ending, [])

    ENDS = st.sampled_from(["completed", "completed", "completed", "error", "cancelled", "cancelled early"])

    @rule(calls=CALLS, text=TEXTS, end=ENDS)
    def ask(self, calls: Any, text: str, end: str) -> None:
        body = {"message": "Hello", "model": MODEL, "conversation_id": self.conversation}
        made = self.send("/api/v1/generations", {k: v for k, v in body.items() if v})
        self.settle(made["generation"], calls, text, end)

    @precondition(lambda self: self.conversation)
    @rule(
        given=st.lists(st.tuples(ROLES, TEXTS), max_size=2),
        outputs=st.lists(st.sampled_from(["call_0", "call_1", "call_1-1", "gone"]), max_size=2),
        calls=CALLS,
        text=TEXTS,
        end=ENDS,
    )
    def respond(self, given: Any, outputs: list[str], calls: Any, text: str, end: str) -> None:
        items: list[Any] = [{"type": "function_call_output", "call_id": one, "output": "2"} for one in outputs]
        items += [{"role": role, "content": said} for role, said in given]
        conversation = "conv_" + str(self.conversation).replace("-", "")
        body = {"model": MODEL, "input": items or "Go on", "conversation": conversation, "background": True}
        made = self.send("/v1/responses", body)
        digits = made["id"].partition("_")[2]
        named = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        self.settle(self.send(f"/api/v1/generations/{named}", method="get"), calls, text, end)

    @precondition(lambda self: self.answers)
    @rule(pick=PICKS, calls=CALLS, text=TEXTS, end=ENDS)
    def regenerate(self, pick: int, calls: Any, text: str, end: str) -> None:
        answer = self.answers[pick % len(self.answers)]
        made = self.send(f"/api/v1/messages/{answer}/regenerate", {"model": MODEL})
        self.settle(made["generation"], calls, text, end)

    @precondition(lambda self: self.conversation)
    @rule(pick=PICKS)
    def delete_an_item(self, pick: int) -> None:
        path = "/v1/conversations/conv_" + str(self.conversation).replace("-", "") + "/items"
        found = self.send(path + "?order=asc&limit=100", method="get")["data"]
        if found:
            self.send(f"{path}/{found[pick % len(found)]['id']}", method="delete")

    @precondition(lambda self: self.conversation)
    @rule()
    def move(self) -> None:
        exported = self.user.get(f"/api/v1/conversations/{self.conversation}/export")
        self.conversation = self.send("/api/v1/conversations/import", exported.json)["id"]
        self.answers = []
        assert self.user.get(f"/api/v1/conversations/{self.conversation}/export").data == exported.data


def test_whatever_a_conversation_goes_through_its_prompt_is_taken(app: OpenAPI, resources: Resources) -> None:
    machine = type("Machine", (Conversations,), {"app": app, "resources": resources})
    few = hypothesis_settings(
        max_examples=5,
        stateful_step_count=14,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=few)
