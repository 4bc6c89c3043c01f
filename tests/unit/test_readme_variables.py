"""The table of variables in README.md is complete and true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.config import Settings

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| `([A-Z_]+)` \|([^|]*)\| ([^|]+) \|$", re.MULTILINE)
ROWS = {name: default.strip() for name, default, _ in ROW.findall((ROOT / "README.md").read_text())}
# Read by `make run` and gunicorn, before there are settings.
OF_THE_PROCESSES = {"PORT", "DATA_DIR", "BIND", "WEB_CONCURRENCY", "WEB_THREADS"}
# `make run` and the catalogue of models fill them in.
FILLED_IN = {"DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "JWT_SECRET", "DEFAULT_MODEL"}


def test_every_setting_is_in_the_table_and_every_row_is_a_setting():
    assert set(ROWS) == {name.upper() for name in Settings.model_fields} | OF_THE_PROCESSES


@pytest.mark.parametrize("name", sorted(set(ROWS) - OF_THE_PROCESSES - FILLED_IN))
def test_the_default_in_the_table_is_the_one_in_the_code(name: str):
    default = Settings.model_fields[name.lower()].default
    if isinstance(default, tuple):
        default = ",".join(default)
    if isinstance(default, bool):
        default = int(default)
    factory = Settings.model_fields[name.lower()].default_factory
    assert ROWS[name] == ("" if default is None or factory else str(default))
