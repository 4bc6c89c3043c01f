"""Configuration of models from the command line, in the database of DATABASE_URL: ``python -m app.ops.models --help``.

    python -m app.ops.models list
    python -m app.ops.models show NAME
    python -m app.ops.models set NAME provider=openai upstream_name=gpt-x tools='["calculator"]' \\
        price='{"input": "0.15", "output": "0.60", "currency": "USD"}'
    python -m app.ops.models set NAME \\
        targets='[{"upstream": "openai", "name": "gpt-x"}, {"upstream": "spare", "name": "m"}]'
    python -m app.ops.models remove NAME

``set`` changes the named fields and keeps the others. A value is JSON, or plain text when it is no JSON. Every answer
that is accepted afterwards uses the change, in every process.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from pydantic import ValidationError

from app.config import InvalidSettings, Settings
from app.domain.errors import NotFound, UnbrokenError
from app.domain.models import ModelSpec, changed
from app.services.model_admin import ModelAdmin, spec_of
from app.store.database import Database
from app.store.model_configs import Model


def main() -> int:
    """Run the command of the arguments. Returns 1 when it was refused."""
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
    configurator = ModelAdmin(database, settings.upstream_names)
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


def _do(configurator: ModelAdmin, asked: argparse.Namespace) -> None:
    match asked.command:
        case "list":
            for model in configurator.every():
                state = "" if model.enabled else "switched off"
                others = " ".join(target.key for target in model.targets[1:])
                print(model.name, model.provider, model.upstream_name, state, others, sep="\t")
        case "show":
            _show(configurator.get(asked.name))
        case "set":
            _show(_set(configurator, asked.name, dict(map(_field, asked.fields))))
        case "remove":
            left = configurator.remove(asked.name)
            print(f"{asked.name} was used and is switched off" if left else f"{asked.name} is gone")


def _set(configurator: ModelAdmin, name: str, fields: dict[str, Any]) -> Model:
    """Change fields of a model. A missing model is added with these fields."""
    try:
        return configurator.change(name, lambda old: ModelSpec.model_validate(changed(old, fields)))
    except NotFound:
        return configurator.add(name, ModelSpec.model_validate(fields))


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
