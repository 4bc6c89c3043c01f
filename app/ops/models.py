"""Models from the command line, where DATABASE_URL points: ``python -m app.ops.models --help``.

    python -m app.ops.models list
    python -m app.ops.models show NAME
    python -m app.ops.models set NAME provider=openai upstream_name=gpt-x tools='["calculator"]' \\
        price='{"input": "0.15", "output": "0.60", "currency": "USD"}'
    python -m app.ops.models remove NAME

``set`` changes what is named and leaves the rest; a value is JSON, or else the text itself. Running processes know a
change after a few seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from pydantic import ValidationError

from app.config import InvalidSettings, Settings
from app.domain.errors import NotFound, UnbrokenError
from app.domain.models import ModelSpec
from app.services.catalogue import Catalogue
from app.services.configuring import Configurator, spec_of
from app.store.database import Database
from app.store.models import Model


def main() -> int:
    """Do what the arguments say; 1 when that was refused."""
    parser = argparse.ArgumentParser(prog="python -m app.ops.models", description="Show and change models.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="all models")
    for name, what in {"show": "one of them", "set": "add or change one", "remove": "delete one"}.items():
        command = commands.add_parser(name, help=what)
        command.add_argument("name")
        if name == "set":
            command.add_argument("fields", nargs="*", metavar="FIELD=VALUE", help=", ".join(ModelSpec.model_fields))
    asked = parser.parse_args()
    try:
        settings = Settings.load()
    except InvalidSettings as error:
        print(f"These variables cannot be used:\n{error}", file=sys.stderr)
        return 1
    database = Database(settings.database_url, 1)
    configurator = Configurator(database, Catalogue(database, None, None), settings.openai_base_url is not None)
    try:
        _do(configurator, asked)
    except ValidationError as error:
        for complaint in error.errors(include_url=False):
            print(f"{'.'.join(map(str, complaint['loc']))}: {complaint['msg']}", file=sys.stderr)
        return 1
    except UnbrokenError as error:
        print(error.detail, file=sys.stderr)
        return 1
    finally:
        database.close()
    return 0


def _do(configurator: Configurator, asked: argparse.Namespace) -> None:
    match asked.command:
        case "list":
            for model in configurator.every():
                state = "" if model.enabled else "switched off"
                print(model.name, model.provider, model.upstream_name, state, sep="\t")
        case "show":
            _show(configurator.get(asked.name))
        case "set":
            said = _known(configurator, asked.name) | dict(map(_field, asked.fields))
            _show(configurator.put(asked.name, ModelSpec.model_validate(said))[0])
        case "remove":
            left = configurator.remove(asked.name)
            print(f"{asked.name} was used and is switched off" if left else f"{asked.name} is gone")


def _known(configurator: Configurator, name: str) -> dict[str, Any]:
    try:
        return spec_of(configurator.get(name)).model_dump()
    except NotFound:
        return {}


def _field(said: str) -> tuple[str, Any]:
    name, _, value = said.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _show(model: Model) -> None:
    print(model.name)
    print(spec_of(model).model_dump_json(indent=2))


if __name__ == "__main__":
    sys.exit(main())
