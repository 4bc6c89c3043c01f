"""Every line of every process is JSON, and one request's id is in the lines of the web process and of the worker."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from dev.process import ROOT
from tests.stack import Running, Stack, Web, until

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def lines_of(text: str) -> list[dict[str, Any]]:
    """The lines as JSON objects. The test fails at a line that is none."""
    parsed = []
    for line in filter(None, text.splitlines()):
        try:
            parsed.append(json.loads(line))
        except ValueError:
            pytest.fail(f"this line is no JSON: {line[:300]}")
        assert isinstance(parsed[-1], dict), line
        assert {"event", "level", "time"} <= parsed[-1].keys(), line
    return parsed


def lines_so_far(running: Running) -> list[dict[str, Any]]:
    """The lines of a running process, without the last one, which may be half written."""
    return lines_of(running.log().rpartition("\n")[0])


def post(stack: Stack, web: Web, path: str, body: dict[str, Any], request_id: str) -> tuple[dict[str, Any], str]:
    headers = {"Authorization": f"Bearer {stack.token()}", "X-Request-ID": request_id}
    request = urllib.request.Request(web.url + path, json.dumps(body).encode(), headers)
    request.add_header("Content-Type", "application/json")
    with OPENER.open(request, timeout=30) as response:
        text = response.read()
        return (json.loads(text) if text.startswith(b"{") else {}), response.headers["X-Request-ID"]


def test_one_id_goes_through_web_and_worker_and_every_line_is_json(stack: Stack) -> None:
    worker, web = stack.worker(), stack.web()
    made, echoed = post(stack, web, "/api/v1/generations", {"message": "Hi", "model": "offline-fast"}, "one-id.of:mine")
    generation = made["generation"]["id"]
    assert echoed == "one-id.of:mine"
    stack.finished(generation)
    long, _ = post(stack, web, "/api/v1/generations", {"message": "Hi", "model": "offline"}, "cancelled-1")
    until(lambda: stack.generation(long["generation"]["id"]).status == "running")
    post(stack, web, f"/api/v1/generations/{long['generation']['id']}/cancel", {}, "cancel-2")
    post(stack, web, "/v1/chat/completions", {"model": "offline-fast", "messages": [{"role": "user", "content": "Hi"}]},
         "chat-3")  # fmt: skip
    _, odd = post(
        stack, web, "/v1/responses", {"model": "offline-fast", "input": "Hi", "background": True}, "a b {evil}"
    )
    assert odd != "a b {evil}", "only a safe and short one is taken"
    with_ids = [line for line in lines_so_far(web) if line.get("action") == "request" and line.get("method") == "POST"]
    assert all(line["generation_id"] for line in with_ids), with_ids
    by_request = {line["request_id"]: line["generation_id"] for line in with_ids}
    assert by_request["one-id.of:mine"] == generation
    until(lambda: sum(line.get("action") == "finish" for line in lines_so_far(worker)) >= 3)
    until(lambda: any(line.get("action") == "fenced" for line in lines_so_far(worker)))
    worker.terminate()
    web.terminate()
    said = lines_of(worker.log())
    for request_id, generation_id in by_request.items():
        about = [line for line in said if line.get("generation_id") == generation_id]
        if request_id != "cancel-2":
            assert about, request_id
            assert {line.get("request_id") for line in about} == {request_id}
    assert lines_of(web.log())


PROGRAM = """
import sys, threading, warnings
from app import log_lines
log_lines.install("INFO")
print("printed"); print("half", end=""); print(" a line"); sys.stderr.write("said\\n")
print('{"event": "x", "level": "info", "time": "t"}')
sys.__stdout__.write("past it\\n")
warnings.warn("old", DeprecationWarning)
warnings.warn("a warning")
class Bad:
    def __del__(self): raise ValueError("in a finaliser")
bad = Bad(); del bad
thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()
raise RuntimeError("of two\\nlines")
"""


def test_what_is_printed_warned_of_and_not_caught_is_json() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = lines_of(done.stdout + done.stderr)
    events = [line["event"] for line in lines]
    assert done.returncode == 1
    for wanted in ("printed", "half a line", "said", "x", "past it"):
        assert wanted in events
    assert any("a warning" in event for event in events)
    assert any("of two" in line.get("exception", "") for line in lines)
    assert any("ZeroDivisionError" in line.get("exception", "") for line in lines)
    assert any("in a finaliser" in line.get("exception", "") for line in lines)


@pytest.mark.parametrize(
    "command",
    [
        ["celery", "-A", "worker.celery_app", "worker", "--pool", "threads"],
        ["gunicorn", "wsgi:app"],
        ["alembic", "upgrade", "head"],
        ["alembic", "upgrade", "nonsense"],
    ],
)
def test_what_cannot_start_says_so_in_json(tmp_path: Path, database_url: str, command: list[str]) -> None:
    environment = {"PATH": "/usr/bin:/bin", "MAX_STREAMS": "-1", "JWT_SECRET": "short", "LOG_LEVEL": "nonsense"}
    if "nonsense" in command:
        environment["DATABASE_URL"] = database_url
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode != 0
    assert lines_of(done.stdout + done.stderr)


def test_a_web_process_whose_login_may_be_the_workers_logs_it_at_the_start(stack: Stack) -> None:
    warned = [
        line for line in lines_of(stack.web(DATABASE_LOGINS="one").log()) if line["event"] == "database login is shared"
    ]
    assert [line["level"] for line in warned] == ["warning"]
    assert "every user" in warned[0]["detail"]
