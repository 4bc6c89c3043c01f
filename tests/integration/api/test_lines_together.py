"""Lines that are written in one piece, and lines past structlog, are the lines that everybody else writes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from structlog.contextvars import clear_contextvars

from app import logs

FIELDS: dict[str, Any] = {"action": "stream", "user_id": "some user", "bytes": 1, "seconds": 0.25, "reason": "done"}


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(autouse=True)
def _nothing_bound() -> None:
    """Remove what earlier tests have bound to this thread: a line past structlog has its own fields only."""
    clear_contextvars()


@pytest.fixture
def alone(logged: Callable[[], str]) -> Callable[[], None]:
    """A function that removes the handlers that pytest has added beside that of ``logged``: a deployment has one."""
    [own] = [handler for handler in logging.getLogger().handlers if isinstance(handler, logs._Lines)]

    def remove_others() -> None:
        logging.getLogger().handlers[:] = [own]

    return remove_others


@pytest.mark.parametrize("handlers", ["of a deployment", "beside others"])
def test_a_line_past_structlog_is_the_line_of_its_logger(
    logged: Callable[[], str], alone: Callable[[], None], handlers: str
) -> None:
    if handlers == "of a deployment":
        alone()
    logger = structlog.get_logger("app.somewhere")
    logger.info("an event", **FIELDS)
    logs.info("app.somewhere", "an event", **FIELDS)
    one, other = lines(logged())
    assert {**one, "time": ""} == {**other, "time": ""}
    assert len(one["time"]) == len(other["time"])
    assert "some user" not in logged()


def test_a_level_holds_for_it_too(logged: Callable[[], str], alone: Callable[[], None]) -> None:
    alone()
    logging.getLogger().setLevel("WARNING")
    logs.info("app.elsewhere", "an event", **FIELDS)
    assert logged() == ""


def test_lines_of_a_block_are_written_at_its_end_in_their_order(
    logged: Callable[[], str], alone: Callable[[], None]
) -> None:
    alone()
    logger = structlog.get_logger("app.somewhere")

    def write() -> None:
        with logs.together():
            logger.info("first")
            with logs.together():
                logs.info("app.somewhere", "second")
            logging.getLogger("a.library").warning("third")
            assert logged() == ""
            raise ValueError("the block fails")

    with pytest.raises(ValueError, match="the block fails"):
        write()
    assert [line["event"] for line in lines(logged())] == ["first", "second", "third"]
    logger.info("fourth")
    assert lines(logged())[-1]["event"] == "fourth"
