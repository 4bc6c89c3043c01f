"""Every limit of a worker has the value of its own variable."""

from __future__ import annotations

from dataclasses import asdict, fields

import pytest

from app.config import WorkerSettings
from worker.limits import _WHAT, Limits, limits_of


def test_each_limit_is_set_by_the_variable_that_its_refusal_names(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {field.name: 70_000 + 100 * at for at, field in enumerate(fields(Limits)) if field.name in _WHAT}
    wanted["tool_calls"] = 77
    given = {"DATABASE_URL": "postgresql://h/d", "REDIS_URL": "redis://h"}
    given |= {_WHAT[name][0]: str(value) for name, value in wanted.items()}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    limits = limits_of(WorkerSettings.load())
    assert {name: value for name, value in asdict(limits).items() if name in wanted} == wanted
    for name, value in wanted.items():
        refusal = limits.exceeded(name)
        assert refusal.limit == _WHAT[name][0]
        assert refusal.limit in refusal.message
        assert str(value) in refusal.message
