"""The parameter that an upstream refuses by name, from any shape of its refusal. Pure.

A refusal of a value, such as a limit that is too large, is no refusal of the parameter.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

import orjson

# Refusals come with these statuses. 500 is the status of servers that pass the parameters to a function.
STATUSES = frozenset({400, 422, 500, 501})
# As much of a refusal is read: values in depth, characters of text, characters of one sentence.
MOST_DEPTH = 8
MOST_CHARS = 8_000
MOST_SENTENCE_CHARS = 1000

_REFUSES = re.compile(
    r"unsupported|\bnot (?:be |currently |yet )?support|n['’]t support|unrecogni[sz]ed|unknown|unexpected|extraneous"
    r"|extra[ _](?:inputs?|fields?|keys?|parameters?|forbidden)|not permitted|not allowed|additional propert"
    r"|cannot find field|no such (?:field|parameter|argument)|deprecated|incompatible|not compatible|not available"
    r"|not applicable|cannot be (?:set|used|specified)|(?:is|are) not accepted|not accept|no longer accept"
    r"|invalid (?:parameter|argument|field|property|key)\b|not (?:a )?(?:valid|known|recogni[sz]ed)"
    r"|only the default|only \S{1,20} is (?:allowed|supported)|may only be set to",
    re.IGNORECASE,
)
# The upstream knows the parameter, and another value of it is right.
_VALUE = re.compile(
    r"too (?:large|high|big|small|low|long|many)|at most|at least|less than|greater than|between|maximum|minimum|exceed"
    r"|\brange\b|invalid type|expected an? |should be|must be (?!satisfied|verified)|one of the following values",
    re.IGNORECASE,
)
_CATEGORICAL = re.compile(r"only the default|only \S{1,20} is (?:allowed|supported)|may only be set to", re.IGNORECASE)
# The list of what would be right, advice, and the refused value.
_TAIL = re.compile(
    r"(?:,|;|:|\() ?(?:but )?(?:expected(?: one of)?|did you mean|(?:supported|allowed|valid|accepted|known) \w+)\b.*"
    r"|\b(?:please )?use ['\"`]?\w+['\"`]? instead.*|,? (?:please )?use ['\"`].*|\binput_value=.*|, value: .*",
    re.IGNORECASE | re.DOTALL,
)
# A word of refusal right before the name of what is refused.
_NAMED = re.compile(
    r"(?:unsupported|unrecogni[sz]ed|unknown|unexpected|extraneous|invalid|extra|additional|deprecated)[ _-]"
    r"(?:request )?(?:keyword )?(?:parameter|argument|field|property|name|key|input|option|value|properties)s?"
    r"(?: supplied| provided| given)?[ :=]*[\[({]*\s*(?P<quote>['\"`‘“])?(?P<name>[A-Za-z_][\w.\[\]]*)",
    re.IGNORECASE,
)
_LOCATION = re.compile(r"['\"]loc['\"]: ?[\[(](?P<path>[^\])]{0,300})[\])]")
_SENTENCES = re.compile(r"(?<=[.;!?])\s+|\n(?!\s)")
_WORDS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Copies of the request, which say nothing about it.
_ECHOES = frozenset({"input", "input_value", "ctx", "url", "doc_url", "request", "request_id", "body"})
_CODES = frozenset({"unsupported_parameter", "unknown_parameter", "unsupported_value", "invalid_parameter"})


def refused_name(document: object, names: Collection[str]) -> str | None:
    """The first of ``names`` that a refusal names; None when it refuses something else, or nothing.

    ``document`` is the body of the refusal: parsed JSON, or text. ``names`` are the parameters that were sent.
    """
    known = {_plain(name): name for name in names}
    for entry in _objects(document, MOST_DEPTH):
        if (path := _structured(entry)) is not None:
            return _last_known(path, known)
    for sentence in sentences(document):
        if not _REFUSES.search(sentence) or _is_of_value(sentence):
            continue
        if found := _in_sentence(sentence, known):
            return found
    return None


def quotes_value(document: object, value: object) -> bool:
    """True when a refusal has the number that was sent in it, and does not say that there is only one right value."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    number = re.compile(rf"(?<![\w.-]){re.escape(f'{value:g}')}(?:\.0+)?(?!\w|\.\d)")
    said = list(sentences(document))
    return any(map(number.search, said)) and not any(map(_CATEGORICAL.search, said))


def sentences(document: object) -> Iterator[str]:
    """The sentences of a refusal, each on one line, without copies of the request."""
    left = MOST_CHARS
    for text in _texts(document, MOST_DEPTH):
        for sentence in _SENTENCES.split(text[:left].replace("\r", "")):
            yield " ".join(sentence[:MOST_SENTENCE_CHARS].split())
        left -= len(text)
        if left <= 0:
            return


def _structured(entry: dict[str, Any]) -> list[Any] | None:
    """The path to the name in an error object, where its type or code says that the parameter is refused."""
    kind, location = entry.get("type"), entry.get("loc")
    if isinstance(kind, str) and "extra" in kind and isinstance(location, list):
        return location
    if entry.get("keyword") == "additionalProperties" and isinstance(entry.get("params"), dict):
        return [entry["params"].get("additionalProperty")]
    parameter, code, message = entry.get("param"), entry.get("code"), entry.get("message")
    if not (isinstance(parameter, str) and parameter and isinstance(code, str) and code in _CODES):
        return None
    is_of_value = isinstance(message, str) and _is_of_value(message)
    return None if is_of_value else _WORDS.findall(parameter)


def _in_sentence(sentence: str, known: dict[str, str]) -> str | None:
    if found := _LOCATION.search(sentence):
        return _last_known(_WORDS.findall(found["path"]), known)
    sentence = _TAIL.sub("", sentence)
    if found := _NAMED.search(sentence):
        words = _WORDS.findall(found["name"])
        if found["quote"] or _plain(words[-1]) in known:
            return known.get(_plain(words[-1]))
    return next((known[plain] for word in _WORDS.findall(sentence) if (plain := _plain(word)) in known), None)


def _last_known(path: list[Any], known: dict[str, str]) -> str | None:
    """The innermost name of a path that was sent as a parameter."""
    names = [_plain(part) for part in path if isinstance(part, str)]
    return next((known[name] for name in reversed(names) if name in known), None)


def _is_of_value(sentence: str) -> bool:
    return _VALUE.search(sentence) is not None and not _CATEGORICAL.search(sentence)


def _plain(name: str) -> str:
    """A name without its style: some upstreams name parameters in camel case."""
    return name.replace("_", "").lower()


def _objects(document: object, depth: int) -> Iterator[dict[str, Any]]:
    """Every JSON object in a document, outer ones first; also those in texts."""
    document = _parsed(document)
    if depth == 0:
        return
    if isinstance(document, dict):
        yield document
        for name, value in document.items():
            if name not in _ECHOES:
                yield from _objects(value, depth - 1)
    elif isinstance(document, list):
        for value in document[:20]:
            yield from _objects(value, depth - 1)


def _texts(document: object, depth: int) -> Iterator[str]:
    document = _parsed(document)
    if depth == 0:
        return
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict):
        for name, value in document.items():
            if name not in _ECHOES:
                yield from _texts(value, depth - 1)
    elif isinstance(document, list):
        for value in document[:20]:
            yield from _texts(value, depth - 1)


def _parsed(value: object) -> object:
    """The JSON in a text, as gateways quote refusals of the upstream behind them; anything else as it is."""
    if isinstance(value, bytes):
        value = value[:MOST_CHARS].decode("utf-8", "replace")
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
