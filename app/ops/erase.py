"""Erasures from the command line, with the workers' login in DATABASE_URL: ``python -m app.ops.erase --help``.

    python -m app.ops.erase list --since 2026-11-01 > erasures.jsonl
    python -m app.ops.erase again erasures.jsonl
    python -m app.ops.erase user 01930000-0000-7000-8000-000000000001

``list`` prints the digests of the users who were erased, without any name. ``again`` requests the erasure of those of
them who exist, as after a restore of an older backup. ``user`` requests that of one user. Workers carry them out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

from app.config import InvalidSettings, WorkerSettings
from app.domain.errors import UnbrokenError
from app.services.own_data.erasure_list import ErasureList
from app.store.database import Database


def main() -> int:
    """Run the command of the arguments. Returns 1 when it was refused."""
    asked = _parser().parse_args()
    try:
        settings = WorkerSettings.load()
    except InvalidSettings as error:
        print(f"These variables cannot be used:\n{error}", file=sys.stderr)
        return 1
    database = Database(settings.database_url, 1)
    try:
        return _do(ErasureList(database), asked)
    except UnbrokenError as error:
        print(error.detail, file=sys.stderr)
        return 1
    finally:
        database.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app.ops.erase", description="Erasures of users.")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="the users who were erased, by digest")
    listing.add_argument("--since", type=_time, default=datetime.min.replace(tzinfo=UTC, year=1970), help="a date")
    again = commands.add_parser("again", help="erase them again, after a restore")
    again.add_argument("file", type=argparse.FileType(), help="the output of list, or log lines with a digest")
    one = commands.add_parser("user", help="erase one user")
    one.add_argument("id", type=lambda text: str(UUID(text)))
    return parser


def _do(erasures: ErasureList, asked: argparse.Namespace) -> int:
    if asked.command == "list":
        for found in erasures.since(asked.since):
            print(json.dumps({"digest": found.digest.hex(), "requested_at": found.requested_at.isoformat()}))
        return 0
    if asked.command == "again":
        print(f"{erasures.again(_digests(asked.file))} users will be erased again")
        return 0
    is_there = erasures.request(asked.id)
    print("the user will be erased" if is_there else "there is no such user")
    return 0 if is_there else 1


def _digests(lines: Iterator[str]) -> Iterator[bytes]:
    for line in lines:
        if line.strip():
            yield bytes.fromhex(json.loads(line)["digest"])


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


if __name__ == "__main__":
    sys.exit(main())
