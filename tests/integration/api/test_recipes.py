"""The blocks of Python in CONTRIBUTING.md, run as they stand."""

from __future__ import annotations

import asyncio
import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

from app.api.web_process import EXTENSION
from app.domain import sse
from worker.providers.base import ChatMessage, Finished, Piece, Prompt, Text

from .conftest import Hand, Person

TEXT = (Path(__file__).resolve().parents[3] / "CONTRIBUTING.md").read_text()
PROVIDER, PROTOCOL = (
    textwrap.dedent(block) for block in re.findall(r"^ *```python\n(.*?)^ *```$", TEXT, re.DOTALL | re.MULTILINE)
)


def module_of(code: str, name: str) -> ModuleType:
    """A module made from code, without a file."""
    module = sys.modules[name] = ModuleType(name)
    exec(compile(code, "CONTRIBUTING.md", "exec", dont_inherit=True), module.__dict__)
    return module


def test_the_provider_repeats_the_last_message():
    heard: list[Piece] = []
    prompt = Prompt("echo", (ChatMessage("user", "one two"),))
    asyncio.run(module_of(PROVIDER, "recipe_provider").Echo().stream(prompt, heard.extend))
    said, finished = heard
    assert isinstance(said, Text)
    assert said.text == "one two"
    assert isinstance(finished, Finished)


def test_the_protocol_sends_the_words_of_an_answer(make_app: Any, of_workers: Any):
    app = make_app()
    app.register_api(module_of(PROTOCOL, "recipe_protocol").routes)
    alice = Person(app.test_client(), "alice")
    answer = alice.post("/lines/answers", json={"message": "Hello"})
    assert answer.status_code == 200, answer.text
    live = app.extensions[EXTENSION].live
    user = live.resources.users.user("alice", None)
    [(row, _)] = live.resources.generations.underway(user, {})
    Hand(of_workers(app), row.id).run("one two")
    assert answer.data.replace(sse.HEARTBEAT, b"") == b"data: ['one', 'two']\n\n"
