"""Workers from the command line, with the workers' login in DATABASE_URL: ``python -m app.ops.workers --help``.

    python -m app.ops.workers list
    python -m app.ops.workers drain worker@3f2a --mode hand_over --reason "a new disk" --wait 60
    python -m app.ops.workers undrain worker@3f2a

``drain`` waits until the worker may be stopped, for ``--wait`` seconds; 0 returns at once. A hook that runs before a
stop, such as Kubernetes' preStop, calls it. The exit code is 0 when the worker may be stopped or has left, 1 when a
request was refused, and 2 when the worker is still at work.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import get_args

from app.config import InvalidSettings, WorkerSettings
from app.domain.audit import SERVICE
from app.domain.errors import NotFound, UnbrokenError
from app.domain.workers import DrainMode
from app.services.worker_admin import SeenWorker, WorkerAdmin
from app.store.database import Database

LOOK_SECONDS = 0.2
# The default wait: below the 30 s that Kubernetes gives a container by default, with its SIGTERM behind the hook.
WAIT_SECONDS = 20.0
STILL_AT_WORK = 2


def main() -> int:
    """Run the command of the arguments."""
    asked = _parser().parse_args()
    try:
        settings = WorkerSettings.load()
    except InvalidSettings as error:
        print(f"These variables cannot be used:\n{error}", file=sys.stderr)
        return 1
    database = Database(settings.database_url, 1)
    try:
        return _do(WorkerAdmin(database.system, settings.worker_lost_seconds), asked)
    except UnbrokenError as error:
        print(error.detail, file=sys.stderr)
        return 1
    finally:
        database.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app.ops.workers", description="List, drain and undrain workers.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="all workers that have not left on purpose")
    for name, what in {"drain": "let one take nothing new", "undrain": "let one take answers again"}.items():
        command = commands.add_parser(name, help=what)
        command.add_argument("name", help="Celery's name of the node, such as worker@3f2a")
        command.add_argument("--reason", help="for the audit")
        if name == "drain":
            command.add_argument("--mode", choices=get_args(DrainMode), default="finish", help="of the running answers")
            command.add_argument("--wait", type=float, default=WAIT_SECONDS, metavar="SECONDS")
    return parser


def _do(admin: WorkerAdmin, asked: argparse.Namespace) -> int:
    match asked.command:
        case "list":
            for seen in admin.every():
                _show(seen)
        case "drain":
            return _drain(admin, asked)
        case "undrain":
            _show(admin.undrain(SERVICE, asked.name, asked.reason))
    return 0


def _drain(admin: WorkerAdmin, asked: argparse.Namespace) -> int:
    seen = admin.drain(SERVICE, asked.name, asked.mode, asked.reason)
    if seen.warning:
        print(seen.warning, file=sys.stderr)
    until = time.monotonic() + asked.wait
    while not seen.worker.may_stop and seen.worker.state != "lost" and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        try:
            seen = admin.get(asked.name)
        except NotFound:
            print(f"{asked.name} has left")
            return 0
    _show(seen)
    return 0 if seen.worker.may_stop else STILL_AT_WORK


def _show(seen: SeenWorker) -> None:
    worker = seen.worker
    drain = f"{worker.drain.mode} {worker.drain.reason or ''}".strip() if worker.drain else ""
    print(worker.name, worker.state, f"{worker.running}/{worker.slots}", "may stop" * worker.may_stop, drain, sep="\t")


if __name__ == "__main__":
    sys.exit(main())
