"""Answers that must have a form: verified when they are whole, and requested once more with the error.

A continuation of a JSON answer is JSON only where the provider goes on at the very next character. Everywhere else an
interrupted JSON answer begins again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import structlog

from app.domain.answer_format import (
    INVALID_FORMAT,
    UNLIMITED,
    AnswerFormat,
    InvalidAnswerFormat,
    Unchecked,
    WrongForm,
    accepted,
    check_text,
)
from app.domain.attempts import Attempt
from worker.providers.base import ChatMessage, ExactProvider, Finished, ProviderError
from worker.target_call import Candidate

# An answer that ends with one of these is incomplete, and its text is not JSON yet.
CUT_SHORT = frozenset({"length", "content_filter"})
# Characters of a refused answer that the model reads again.
MOST_QUOTED_CHARS = 20_000

_log = structlog.get_logger()


def take(parameters: dict[str, Any]) -> AnswerFormat | None:
    """Remove the form of an answer from the parameters of its request; None for free text.

    A form that an earlier release accepted and this one cannot read stays a parameter of the upstream.
    """
    value = parameters.get("response_format")
    if value is None:
        return None
    try:
        wanted = accepted(value, UNLIMITED)
    except InvalidAnswerFormat as error:
        _log.warning("form of an answer not checked", action="answer_format", error=str(error)[:300])
        return None
    del parameters["response_format"]
    return wanted


def policy(wanted: AnswerFormat | None, called: Candidate, choices: Sequence[str]) -> Sequence[str]:
    """The policy for an interrupted answer of this form: a restart in the place of an inexact continuation."""
    provider = called.provider
    if wanted is None or (isinstance(provider, ExactProvider) and provider.continues_exactly(called.target.name)):
        return choices
    return tuple("restart" if choice == "continue" else choice for choice in choices)


def correction(wanted: AnswerFormat | None, made: Sequence[Attempt], text: str) -> tuple[ChatMessage, ...]:
    """The messages with which the model answers once more; none unless an attempt had a wrong form.

    ``text`` is the answer of the last attempt.
    """
    wrong = [attempt for attempt in made if attempt["outcome"] == INVALID_FORMAT]
    if wanted is None or not wrong:
        return ()
    error = wrong[-1].get("detail", "")
    text = text[:MOST_QUOTED_CHARS] if is_wrong(made) else ""
    if wanted.schema is None:
        form = "one JSON object, without any other text"
    else:
        form = f"one JSON value that is valid against this JSON Schema:\n{orjson.dumps(wanted.schema).decode()}"
    request = f"{error} Answer again. Write nothing but {form}"
    return ChatMessage("assistant", text or "…"), ChatMessage("user", request)


def is_wrong(made: Sequence[Attempt]) -> bool:
    """True when the answer of the last attempt had a wrong form."""
    return bool(made) and made[-1]["outcome"] == INVALID_FORMAT


async def verify(wanted: AnswerFormat, finished: Finished, text: str, most_steps: int) -> None:
    """Check the text of an answer that its provider has finished. Raises ProviderError.

    ``most_steps`` is MAX_SCHEMA_STEPS.
    """
    if finished.finish_reason in CUT_SHORT:
        return
    try:
        await asyncio.to_thread(check_text, wanted, text, most_steps)
    except WrongForm as error:
        message = f"The answer does not have the form that was requested: {error}."
        raise ProviderError(INVALID_FORMAT, message, retryable=True, usage=finished.usage) from None
    except Unchecked:
        message = f"The form of the answer cannot be checked within MAX_SCHEMA_STEPS ({most_steps}) steps."
        raise ProviderError(INVALID_FORMAT, message, retryable=False, usage=finished.usage) from None
