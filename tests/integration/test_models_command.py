"""Models from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.conftest import ROOT


def command(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DATABASE_URL": url, "REDIS_URL": "redis://127.0.0.1:1/0", "JWT_SECRET": "s" * 32}
    return _run(environment, *arguments)


def _run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-m", "app.ops.models", *arguments]
    return subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_models_are_listed_set_shown_and_removed(database_url: str) -> None:
    price = '{"input": "0.5", "output": 2, "currency": "EUR"}'
    made = command(
        database_url, "set", "mine", "provider=offline", "label=My own", 'tools=["calculator"]', f"price={price}"
    )
    assert made.returncode == 0, made.stderr
    changed = command(database_url, "set", "mine", "label=Another")
    shown = command(database_url, "show", "mine")
    assert changed.stdout == shown.stdout
    spec = json.loads(shown.stdout.partition("\n")[2])
    assert (spec["label"], spec["tools"], spec["price"]["output"]) == ("Another", ["calculator"], "2.000000")
    assert "mine\toffline\tmine" in command(database_url, "list").stdout
    assert command(database_url, "remove", "mine").stdout == "mine is gone\n"
    assert command(database_url, "show", "mine").returncode == 1


def test_variables_that_are_missing_are_said_in_so_many_words() -> None:
    needed = ("DATABASE_URL", "REDIS_URL", "JWT_SECRET", "JWT_JWKS_URL")
    asked = _run({name: value for name, value in os.environ.items() if name not in needed}, "list")
    assert asked.returncode == 1
    assert "DATABASE_URL: " in asked.stderr
    assert "REDIS_URL: " in asked.stderr
    assert "Traceback" not in asked.stderr


def test_what_is_wrong_is_said_and_changes_nothing(database_url: str) -> None:
    refused = command(database_url, "set", "offline", "provider=nobody", "colour=red")
    assert refused.returncode == 1
    assert "provider:" in refused.stderr
    assert "colour:" in refused.stderr
    tools = command(database_url, "set", "offline", 'tools=["no_such_tool"]')
    assert (tools.returncode, "no tool named" in tools.stderr) == (1, True)
    named = command(database_url, "set", "all", "provider=offline")
    assert (named.returncode, "'all'" in named.stderr) == (1, True)
    assert "no_such_tool" not in command(database_url, "show", "offline").stdout
