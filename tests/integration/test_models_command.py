"""Models are configured from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from app.ops import models
from tests.conftest import ROOT


@dataclass
class Ended:
    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Ended]


@pytest.fixture
def command(database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """A function that runs the command in this process: a process of its own costs more than a second."""
    variables = {"DATABASE_URL": database_url, "REDIS_URL": "redis://127.0.0.1:1/0", "JWT_SECRET": "s" * 32}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["models", *arguments])
        code = models.main()
        return Ended(code, *capsys.readouterr())

    return run


def start(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-m", "app.ops.models", *arguments]
    return subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_models_are_listed_set_shown_and_removed(command: Command) -> None:
    price = '{"input": "0.5", "output": 2, "currency": "EUR"}'
    made = command("set", "mine", "provider=offline", "label=My own", 'tools=["calculator"]', f"price={price}")
    assert made.returncode == 0, made.stderr
    changed = command("set", "mine", "label=Another")
    shown = command("show", "mine")
    assert changed.stdout == shown.stdout
    spec = json.loads(shown.stdout.partition("\n")[2])
    assert (spec["label"], spec["tools"], spec["price"]["output"]) == ("Another", ["calculator"], "2.000000")
    assert "mine\toffline\tmine" in command("list").stdout
    assert command("remove", "mine").stdout == "mine is gone\n"
    assert command("show", "mine").returncode == 1


def test_variables_that_are_missing_are_said_in_so_many_words() -> None:
    needed = ("DATABASE_URL", "REDIS_URL", "JWT_SECRET", "JWT_JWKS_URL")
    asked = start({name: value for name, value in os.environ.items() if name not in needed}, "list")
    assert asked.returncode == 1
    assert "DATABASE_URL: " in asked.stderr
    assert "REDIS_URL: " in asked.stderr
    assert "Traceback" not in asked.stderr


def test_what_is_wrong_is_said_and_changes_nothing(command: Command) -> None:
    refused = command("set", "offline", 'provider=""', "colour=red")
    assert refused.returncode == 1
    assert "provider:" in refused.stderr
    assert "colour:" in refused.stderr
    unknown = command("set", "offline", "provider=nobody")
    assert (unknown.returncode, "no provider named 'nobody'; there are offline" in unknown.stderr) == (1, True)
    tools = command("set", "offline", 'tools=["no_such_tool"]')
    assert (tools.returncode, "no tool named" in tools.stderr) == (1, True)
    named = command("set", "all", "provider=offline")
    assert (named.returncode, "'all'" in named.stderr) == (1, True)
    assert "no_such_tool" not in command("show", "offline").stdout
