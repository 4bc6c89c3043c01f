"""The tables of docs/settings.md are complete and true."""

from __future__ import annotations

import re
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from app.config import WorkerSettings
from app.upstream_settings import UpstreamSettings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "settings.md").read_text()
FIXED = re.compile(r"^\| `([a-z_.]+):([A-Z_]+)` \| ([0-9.]+) \| ([^|]+) \|$", re.MULTILINE)
CONSTANTS = {f"{m}:{n}": float(v) for m, n, v, _ in FIXED.findall(DOCUMENT)}
# The table of fixed times and amounts lists every constant of these rooms with such a name.
NAMED = re.compile(r"^([A-Z][A-Z_]*_(?:SECONDS|MS|AT_ONCE|DAYS)) = ", re.MULTILINE)
ROOMS = ("app/services", "app/eventlog")
ROW = re.compile(r"^\| `([A-Z_<>]+)` \|([^|]*)\| ([^|]+) \|$", re.MULTILINE)
ROWS = {name: default.strip() for name, default, _ in ROW.findall(DOCUMENT)}
# Variables that `make run` and gunicorn read before settings exist.
OF_THE_PROCESSES = {
    "PORT",
    "DATA_DIR",
    "BIND",
    "WEB_CONCURRENCY",
    "WEB_THREADS",
    "MIGRATION_DATABASE_URL",
    "WORKER_DATABASE_URL",
}
# The variables of each upstream; <NAME> is its name in UPSTREAMS.
OF_UPSTREAMS = {f"UPSTREAM_<NAME>_{field.upper()}": found for field, found in UpstreamSettings.model_fields.items()}
# Settings that `make run` and the catalogue of models fill in.
FILLED_IN = {"DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "JWT_SECRET", "DEFAULT_MODEL"}


def test_no_name_has_two_rows():
    rows = Counter([f"{m}:{n}" for m, n, *_ in FIXED.findall(DOCUMENT)] + [name for name, *_ in ROW.findall(DOCUMENT)])
    assert [name for name, count in rows.items() if count > 1] == []


def test_every_setting_is_in_the_table_and_every_row_is_a_setting():
    settings = {name.upper() for name in WorkerSettings.model_fields} - {"UPSTREAM_SETTINGS"}
    assert set(ROWS) == settings | OF_THE_PROCESSES | set(OF_UPSTREAMS)


@pytest.mark.parametrize("name", sorted(set(ROWS) - OF_THE_PROCESSES - FILLED_IN))
def test_the_default_in_the_table_is_the_one_in_the_code(name: str):
    field = OF_UPSTREAMS.get(name) or WorkerSettings.model_fields[name.lower()]
    default = None if field.is_required() or field.default_factory else field.default
    if isinstance(default, tuple):
        default = ",".join(default)
    if isinstance(default, bool):
        default = int(default)
    assert ROWS[name] == ("" if default is None else str(default))


@pytest.mark.parametrize("constant", sorted(CONSTANTS))
def test_the_constant_in_the_table_is_the_one_in_the_code(constant: str):
    module, _, name = constant.partition(":")
    assert CONSTANTS[constant] == getattr(import_module(module), name)


def test_every_fixed_time_of_a_service_is_in_the_table():
    found = set()
    for room in ROOMS:
        for path in (ROOT / room).glob("*.py"):
            module = f"{room.replace('/', '.')}.{path.stem}"
            found |= {f"{module}:{name}" for name in NAMED.findall(path.read_text())}
    assert found
    assert found <= set(CONSTANTS)
