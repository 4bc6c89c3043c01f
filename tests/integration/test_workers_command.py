"""Workers are listed, drained and undrained from the command line, as a hook before a stop does it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from threading import Thread

import pytest

from app.ops import workers as command
from app.store import workers
from app.store.database import Database
from app.store.workers import Report
from tests.factories import owner
from tests.stack import until

NAME = "w@test"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, 2)
    yield database
    database.close()


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs the command in this process; its exit code, output and errors."""
    # A worker that these tests write by hand reports once.
    variables = {"DATABASE_URL": database_url, "REDIS_URL": "redis://127.0.0.1:1/0", "WORKER_LOST_SECONDS": "600"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["workers", *arguments])
        code = command.main()
        return code, *capsys.readouterr()

    return call


def report(database: Database, state: str = "working", **fields: object) -> None:
    with database.system() as tx:
        workers.beat(tx, Report(NAME, "1", state, 20, 0, **fields), 600)  # type: ignore[arg-type]


def requested(database: Database) -> bool:
    with database.system() as tx:
        worker = workers.get(tx, NAME, 600)
    return worker is not None and worker.drain is not None


def test_a_hook_waits_until_the_worker_may_stop(database: Database, run: Run) -> None:
    report(database)

    def reply() -> None:
        until(lambda: requested(database), 60, "the request")
        report(database, "draining", may_stop=True)

    worker = Thread(target=reply)
    worker.start()
    code, out, err = run("drain", NAME, "--mode", "hand_over", "--reason", "a new disk", "--wait", "60")
    worker.join()
    assert code == 0
    assert out.rstrip("\n").split("\t") == [NAME, "draining", "0/20", "may stop", "hand_over a new disk"]
    assert "No other worker" in err


def test_a_worker_that_leaves_meanwhile_has_nothing_left(database: Database, run: Run) -> None:
    report(database)

    def leave() -> None:
        until(lambda: requested(database), 60, "the request")
        with database.system() as tx:
            workers.leave(tx, Report(NAME, "1", "draining", 20, 0), 600)

    worker = Thread(target=leave)
    worker.start()
    assert run("drain", NAME, "--wait", "60")[:2] == (0, f"{NAME} has left\n")
    worker.join()


def test_a_worker_that_is_still_at_work_is_another_exit(database: Database, database_url: str, run: Run) -> None:
    report(database)
    code, out, _ = run("drain", NAME, "--wait", "0")
    assert (code, "may stop" in out) == (2, False)
    assert run("undrain", NAME)[0] == 0
    assert not requested(database)
    assert run("list")[1].split("\t")[:3] == [NAME, "working", "0/20"]
    with owner(database_url) as cursor:
        cursor.execute("SELECT action, details ->> 'reason' FROM audit ORDER BY id")
        assert cursor.fetchall() == [("worker.drained", None), ("worker.undrained", None)]


def test_an_unknown_worker_is_refused(run: Run) -> None:
    assert run("drain", "nobody@test") == (1, "", "There is no such worker.\n")
