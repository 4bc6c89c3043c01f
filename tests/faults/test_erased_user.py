"""A user of a whole deployment is erased by its workers. No table, key or log file has the user's words or id."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis

from app.domain.models import ModelSpec
from tests.factories import add_conversation, add_user, owner
from tests.stack import Stack, Web, Worker, until
from tests.traces import keys_with, tables_with

AGE = """UPDATE erasures SET requested_at = requested_at - interval '1 minute',
    emptied_at = emptied_at - interval '1 minute' WHERE finished_at IS NULL"""
ROOT = Path(__file__).resolve().parents[2]


def ask(web: Web, token: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and JSON of one request."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(web.url + path, data, method=method)
    for name, value in {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers}.items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            raw = answer.read()
            return answer.status, json.loads(raw) if answer.headers.get_content_subtype() == "json" else raw
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_users_words_and_id_are_in_no_table_key_or_file(stack: Stack, database_url: str) -> None:
    # Its answers run until the worker is killed, however long the rest takes.
    stack.resources.model_admin.put("long", ModelSpec(provider="offline", parameters={"tokens": 10_000}))
    worker, web = stack.worker(LOG_LEVEL="DEBUG"), stack.web(LOG_LEVEL="DEBUG")
    marker, token = f"marker{uuid4().hex}", stack.token("mallory")
    client = redis.Redis.from_url(stack.variables["REDIS_URL"], socket_timeout=30)
    _, me = ask(web, token, "GET", "/api/v1/me")
    sent = {"message": f"{marker} 1", "model": "long", "metadata": {"note": marker}, "client_msg_id": marker}
    status, made = ask(web, token, "POST", "/api/v1/generations", sent)
    assert status == 202, made
    endpoint = {"name": marker, "url": f"https://hooks.invalid/{marker}", "event_types": ["response.completed"]}
    status, receiver = ask(web, token, "POST", "/v1/webhook_endpoints", endpoint)
    assert status == 200, receiver
    sent |= {"webhook_url": f"https://hooks.invalid/{marker}"}
    fast = {**sent, "model": "offline-fast", "client_msg_id": f"{marker}-2"}
    _, done = ask(web, token, "POST", "/api/v1/generations", fast)
    stack.finished(done["generation"]["id"])
    chat = {"id": marker, "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": marker}]}]}
    ask(web, token, "POST", "/api/chat", {**chat, "trigger": "submit-message", "model": "offline-fast"})
    ask(web, token, "GET", f"/api/chat/{marker}")
    ask(web, token, "GET", f"/api/v1/search?q={marker}")
    ask(web, token, "POST", "/v1/responses", {"input": marker, "model": "offline-fast", "background": True})
    until(lambda: keys_with(client, marker), what="a log with the marker")
    assert "messages" in tables_with(database_url, marker)
    assert stack.generation(made["generation"]["id"]).final is None, "it is running"

    _kill_in_the_middle(worker, database_url, me["id"], lambda: ask(web, token, "DELETE", "/api/v1/me"))
    worker = stack.worker(LOG_LEVEL="DEBUG")

    def settled() -> bool:
        with owner(database_url) as cursor:
            # The times in which late requests might come are over.
            cursor.execute(AGE)
            cursor.execute("SELECT count(*) FROM erasures WHERE finished_at IS NOT NULL")
            (many,) = cursor.fetchone()
            return bool(many)

    until(settled, 60, "the end of the erasure", 0.2)
    traces = (marker, me["id"], "mallory")
    until(lambda: not any(keys_with(client, trace) for trace in traces), 10, "that Redis has nothing")
    assert {trace: tables_with(database_url, trace) for trace in traces} == {trace: set() for trace in traces}
    files = [path for path in stack.directory.rglob("*") if path.is_file()]
    assert len(files) >= 2
    # The search itself works: the logs have lines of this user's requests.
    assert any(made["generation"]["id"] in path.read_text(errors="replace") for path in files)
    found = {path.name: trace for path in files for trace in traces if trace in path.read_text(errors="replace")}
    assert found == {}
    # The line is written after the commit that was waited for.
    until(lambda: "user erased" in worker.log(), what="the line of the erasure")
    until(lambda: ask(web, token, "GET", "/api/v1/me")[0] == 200, 10, "a new account")
    again = ask(web, token, "GET", "/api/v1/me")[1]["id"]
    assert again != me["id"]
    _erase_again(stack, database_url, worker.log())


def _kill_in_the_middle(worker: Worker, database_url: str, user: str, erase: Callable[[], tuple[int, Any]]) -> None:
    """Kill the only worker while its batch waits for a row: what it had committed is gone, the rest is there."""
    rows = "SELECT count(*) FROM feed_events WHERE user_id = %s"
    with owner(database_url) as cursor:
        cursor.execute(
            """INSERT INTO feed_events (user_id, seq, conversation_id, type)
               SELECT %s, n, gen_random_uuid(), 'message.new' FROM generate_series(100001, 101200) n""",
            (user,),
        )
        cursor.execute(rows, (user,))
        (all_of_them,) = cursor.fetchone()
    with owner(database_url) as locking:
        locking.execute("SELECT 1 FROM feed_events WHERE user_id = %s AND seq = 101200 FOR UPDATE", (user,))
        assert erase()[0] == 202

        blocker = locking.connection.get_backend_pid()

        def waits() -> bool:
            with owner(database_url) as cursor:
                cursor.execute(AGE)
            with owner(database_url) as cursor:
                # Other locks, also those of AGE, are waited for as well.
                cursor.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {blocker} = ANY (pg_blocking_pids(pid))")
                return bool(cursor.fetchone()[0])

        until(waits, 30, "a batch that waits for the row", 0.05)
        worker.kill()
    with owner(database_url) as cursor:
        cursor.execute(rows, (user,))
        (left,) = cursor.fetchone()
        cursor.execute("SELECT count(*) FROM users WHERE id = %s AND erasing_at IS NOT NULL", (user,))
        assert (0 < left <= all_of_them - 500, cursor.fetchone()) == (True, (1,)), left


def _erase_again(stack: Stack, database_url: str, log: str) -> None:
    """A restored backup has users who were erased since: the list of erasures removes them."""
    with owner(database_url) as cursor:
        user = add_user(cursor)
        add_conversation(cursor, user)
    environment = {**stack._environment({}), "DATABASE_URL": database_url}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "app.ops.erase", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout

    (line,) = run("list", "--since", "2020-01-01").splitlines()
    assert json.loads(line)["digest"] in log
    with owner(database_url) as cursor:
        cursor.execute("SELECT encode(sha256(uuid_send(%s)), 'hex')", (user,))
        (digest,) = cursor.fetchone()
    listed = stack.directory / "erasures.jsonl"
    listed.write_text(json.dumps({"digest": digest}) + "\n" + json.dumps({"digest": "00" * 32}) + "\n")
    assert run("again", str(listed)) == "1 users will be erased again\n"
    with owner(database_url) as cursor:
        cursor.execute(AGE)
    until(lambda: "users" not in tables_with(database_url, user), 30, "the second erasure", 0.1)
