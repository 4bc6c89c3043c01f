"""A sample of hostile credentials: each is refused with one body, and nothing of it reaches the log."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest
from flask_openapi3.openapi import OpenAPI

from app.store import access
from app.wiring import Resources
from tests.hostile.corpus import CHECK, one
from tests.hostile.material import Material, collect, new_signing_key
from tests.hostile.timing import key_pair, session_pair
from tests.stack import until

from .conftest import SECRET, Person

SAMPLE = 150


@pytest.fixture
def material(resources: Resources) -> Material:
    return collect(resources, SECRET, new_signing_key(), many=3)


def test_hostile_credentials_get_one_refusal(
    app: OpenAPI, material: Material, capfd: pytest.CaptureFixture[str]
) -> None:
    seed = random.SystemRandom().randrange(2**31)
    dice = random.Random(seed)
    client = app.test_client(use_cookies=False)
    corpus = [one(dice, material) for _ in range(SAMPLE)]
    bodies = set()
    for hostile in corpus:
        answer = client.post(hostile.path, headers=hostile.fields)
        assert answer.status_code == 401, f"seed {seed}: {hostile} got {answer.status_code} {answer.text}"
        bodies.add(tuple((name, str(value)) for name, value in answer.json.items() if name != "request_id"))
    assert len(bodies) == 1, f"seed {seed}: {bodies}"
    said = "".join(capfd.readouterr())
    leaked = [part for hostile in corpus for part in hostile.secrets if part in said]
    assert leaked == [], f"seed {seed}"


def test_the_credentials_of_the_corpus_are_good_before_they_are_changed(app: OpenAPI, material: Material) -> None:
    client = app.test_client(use_cookies=False)
    bearers = [*material.keys, material.token()]
    good = [("Authorization", f"Bearer {text}") for text in bearers]
    good += [("Cookie", f"session={secret}") for secret in material.sessions]
    for field in good:
        assert client.post(CHECK, headers=[field, ("Origin", "http://localhost")]).status_code == 204


def test_a_wrong_secret_finds_no_row_whether_its_id_is_known_or_not(material: Material, resources: Resources) -> None:
    dice = random.Random()
    for text in key_pair(material, dice):
        assert resources.api_keys.authenticate(text) is None
    for text in session_pair(material, dice):
        assert resources.sessions.of_secret(text) is None
    assert resources.api_keys.authenticate(material.keys[0]) is not None


@pytest.mark.parametrize("spelling", ["{}", "{}=", "{}==", "{}\t="])
def test_a_token_has_one_spelling_so_that_its_end_is_final(alice: Person, resources: Resources, spelling: str) -> None:
    text = alice.headers["Authorization"].removeprefix("Bearer ")
    with resources.database.user(alice.get("/api/v1/me").json["id"]) as tx:
        access.end_token(tx, sha256(text.encode()).hexdigest(), 4e9)
    again = Person(alice.client, alice.subject, {"Authorization": f"Bearer {spelling.format(text)}"})
    until(lambda: again.get("/api/v1/me").status_code == 401, what="the end of every spelling")


PLANTED = (
    "{good}; session={other}",
    'a="x; {good}; b=y"; session={other}',
    'session="{other}"; {good}',
    'session="; {good}',
    "{good}; session=a b",
    "{good}; session ={other}",
    "\u2000session={other}",
    '"session={other}"',
    "a session={other}",
)


@pytest.mark.parametrize("cookies", PLANTED)
def test_a_cookie_that_another_site_has_planted_signs_nobody_in(app: OpenAPI, material: Material, cookies: str) -> None:
    good, other = material.sessions[:2]
    text = cookies.format(good=f"session={good}", other=other).encode().decode("latin-1")
    client = app.test_client(use_cookies=False)
    assert client.get("/api/v1/me", headers=[("Cookie", text)]).status_code == 401
    assert client.get("/api/v1/me", headers=[("Cookie", f"a=b; session={good} ; c")]).status_code == 200
