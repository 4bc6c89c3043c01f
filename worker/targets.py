"""The targets of an answer's model: which may be called, in which order, and for which errors the next one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from app.domain.answer_format import INVALID_FORMAT
from app.domain.attempts import Attempt
from app.domain.targets import Target
from app.domain.transcript import Transcript
from worker.providers.base import Provider, ProviderError
from worker.retry_policy import VISIBLE_RETRIES, Rules, may_retry
from worker.target_call import Candidate

# Attempts with these outcomes say nothing about their target.
_NEUTRAL = frozenset({"finished", "lost", "released", "cancelled"})
# Errors of a target's account or configuration: waiting does not mend them. Its key, its money, its model's name.
_OF_THE_TARGET = frozenset({"upstream_unauthorized", "upstream_quota", "upstream_encoding"})
# Errors that another target would not mend: the time is up, or the text lacks its form.
_OF_THE_ANSWER = frozenset({"generation_timeout", INVALID_FORMAT})
_STATUSES_OF_THE_TARGET = frozenset({402, 404})


def candidates(targets: Iterable[Target], find: Callable[[str, str | None], Provider]) -> tuple[Candidate, ...]:
    """The targets whose upstream is configured, in order. Raises LookupError when none is.

    ``find`` returns the provider of an upstream for a way to continue, or raises LookupError.
    """
    found, error = list[Candidate](), LookupError("a model without a target")
    for target in targets:
        try:
            found.append(Candidate(target, find(target.upstream, target.continuation)))
        except LookupError as missing:
            error = missing
    if not found:
        raise error
    return tuple(found)


def is_targets_fault(error: ProviderError) -> bool:
    """True for an error that another target may not have; False where the request itself is at fault."""
    return (
        error.retryable or error.code in _OF_THE_TARGET or error.upstream_status in _STATUSES_OF_THE_TARGET
    ) and error.code not in _OF_THE_ANSWER


def failures_of(key: str, made: Iterable[Attempt]) -> list[Attempt]:
    """The attempts that have failed at a target."""
    return [attempt for attempt in made if attempt.get("target") == key and attempt["outcome"] not in _NEUTRAL]


def in_order(found: Sequence[Candidate], made: Sequence[Attempt], current: str | None = None) -> list[Candidate]:
    """The candidates in the order in which they are tried: with the fewest failures first.

    Among equals ``current`` is the first, so that a takeover stays with its target; then the model's order counts.
    """
    places = range(len(found))
    return [
        found[place]
        for place in sorted(places, key=lambda n: (len(failures_of(found[n].key, made)), found[n].key != current, n))
    ]


def after_failure(
    found: Sequence[Candidate], failed: str, made: Sequence[Attempt], error: ProviderError, rules: Rules
) -> list[Candidate]:
    """The candidates for the call after ``error`` of the target ``failed``, in order; none: the answer has failed.

    ``made`` are the attempts that did not finish, with the one that has just failed.
    """
    if error.code == INVALID_FORMAT:
        # The model of this target reads what was wrong, and answers once more.
        return [one for one in found if one.key == failed] if may_retry(made, error, rules) else []
    visible = sum(1 for attempt in made if attempt["visible"])
    if not is_targets_fault(error) or len(made) >= rules.max_attempts or visible > VISIBLE_RETRIES:
        return []
    return [one for one in in_order(found, made) if _may_be_called(one.key, failed, made, error, rules)]


def _may_be_called(key: str, failed: str, made: Sequence[Attempt], error: ProviderError, rules: Rules) -> bool:
    there = failures_of(key, made)
    if not there:
        return True
    if any(attempt["outcome"] in _OF_THE_TARGET or attempt["outcome"] == "upstream_rejected" for attempt in there):
        return False
    last = error if key == failed else ProviderError(there[-1]["outcome"], "", retryable=True)
    return may_retry(there, last, rules)


def shows(said: Transcript) -> bool:
    """True when readers have something of the answer: another target must not add to it unannounced."""
    return bool(said.text or said.reasoning or said.tools)
