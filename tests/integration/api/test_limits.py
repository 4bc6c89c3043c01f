"""Rate limits are exact, for each user, over all processes, and also without Redis."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pytest

from app.api.web_process import EXTENSION
from dev.valkey import Valkey

from .conftest import Hand, Person

START = "/api/v1/generations"


def test_ten_conversations_a_minute_and_no_more(make_app: Any):
    person = Person(make_app(ratelimit_new_conversations="10/minute").test_client(), "eager")
    answers = [person.post(START, json={"message": f"{n}"}) for n in range(12)]
    assert [answer.status_code for answer in answers] == [202] * 10 + [429] * 2
    refused = answers[-1]
    assert refused.content_type == "application/problem+json"
    assert refused.json["type"] == "/problems/too-many-requests"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert len(person.get("/api/v1/conversations").json["items"]) == 10


def test_the_limit_is_each_persons_own_and_shared_by_all_processes(make_app: Any):
    one = make_app(ratelimit_new_conversations="2/minute", redis_namespace="shared")
    other = make_app(ratelimit_new_conversations="2/minute", redis_namespace="shared")
    eager, calm = Person(one.test_client(), "eager"), Person(one.test_client(), "calm")
    eager.start()
    Person(other.test_client(), "eager").start()
    assert eager.post(START, json={"message": "3"}).status_code == 429
    assert calm.post(START, json={"message": "1"}).status_code == 202


def test_repeats_and_refusals_do_not_count_as_conversations(make_app: Any):
    person = Person(make_app(ratelimit_new_conversations="2/minute").test_client(), "careful")
    for _ in range(5):
        assert person.post(START, json={"message": "hi", "client_msg_id": "k"}).status_code in (200, 202)
        assert person.post(START, json={"message": ""}).status_code == 422
        assert person.post(START, json={"message": "hi", "model": "none"}).status_code == 422
    assert person.post(START, json={"message": "second"}).status_code == 202
    assert person.post(START, json={"message": "third"}).status_code == 429


def test_going_on_in_a_conversation_is_not_beginning_one(make_app: Any):
    person = Person(make_app(ratelimit_new_conversations="1/minute").test_client(), "talker")
    made = person.start()
    for _ in range(3):
        answer = person.post(
            START, json={"message": "more", "conversation_id": made["conversation"]["id"], "on_busy": "enqueue"}
        )
        assert answer.status_code == 202


def test_generations_and_reads_have_limits_of_their_own(make_app: Any):
    person = Person(make_app(ratelimit_generations="2/minute", ratelimit_reads="3/minute").test_client(), "busy")
    assert [person.post(START, json={"message": "hi"}).status_code for _ in range(3)] == [202, 202, 429]
    assert [person.get("/api/v1/me").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert person.get("/healthz").status_code == 200
    assert person.get("/openapi.json").status_code == 200
    assert person.post("/api/v1/auth/check").status_code == 204


def test_imports_have_a_limit_of_their_own(make_app: Any):
    person = Person(make_app(ratelimit_imports="1/minute").test_client(), "mover")
    path = "/api/v1/conversations/import"
    assert [person.post(path, json={}).status_code for _ in range(2)] == [422, 429]
    assert person.post(START, json={"message": "hi"}).status_code == 202


def test_what_makes_no_sense_counts_and_who_asked_too_often_is_told_that_first(make_app: Any):
    person = Person(make_app(ratelimit_reads="2/minute").test_client(), "clumsy")
    nonsense = f"/api/v1/generations/{uuid4()}?after=nonsense"
    assert [person.get(nonsense).status_code for _ in range(3)] == [400, 400, 429]
    assert person.get("/api/v1/generations/none").status_code == 429


def test_who_has_all_their_streams_is_still_told_what_is_not_there_and_what_is_over(make_app: Any, of_workers: Any):
    app = make_app(max_streams_per_user=1)
    process = app.extensions[EXTENSION]
    person = Person(app.test_client(), "watcher")
    over = person.start()["generation"]["id"]
    hand = Hand(of_workers(app), over)
    hand.run("a", "few", "words")
    end = person.get(f"/api/v1/generations/{over}").json["cursor"]
    user = process.resources.users.user("watcher", None)
    for _ in range(3):
        assert person.get(f"/api/v1/generations/{uuid4()}/stream").status_code == 404
        assert person.get(f"/api/v1/generations/{over}/stream?after={end}").status_code == 204
    held = process.live.quota.acquire(user.id)
    assert person.get(f"/api/v1/generations/{uuid4()}/stream").status_code == 404
    assert person.get(f"/api/v1/generations/{over}/stream?after={end}").status_code == 204
    assert person.get(f"/api/v1/generations/{over}/stream").status_code == 429
    process.live.quota.release(user.id, held)
    assert person.get(f"/api/v1/generations/{over}/stream").status_code == 200


@pytest.mark.usefixtures("one_day")
def test_a_days_tokens_are_counted_per_person_and_refused_until_midnight(make_app: Any, of_workers: Any):
    app = make_app(token_quota_per_day=16)
    talker, other = Person(app.test_client(), "talker"), Person(app.test_client(), "other")
    workers = of_workers(app)
    # A finished answer of the hand uses eight tokens; one that runs has used none yet.
    for _ in range(2):
        Hand(workers, talker.start()["generation"]["id"]).run("some", "words")
    refused = talker.post(START, json={"message": "one more"})
    assert (refused.status_code, refused.json["title"]) == (429, "A budget is used up")
    assert "midnight UTC" in refused.json["detail"]
    seconds_of_a_day = 86_400
    assert 0 < int(refused.headers["Retry-After"]) <= seconds_of_a_day
    embeddings = {"model": "m", "input": "x"}
    refused = talker.post("/v1/embeddings", json=embeddings)
    assert (refused.status_code, "midnight UTC" in refused.text) == (429, True)
    assert "midnight UTC" not in other.post("/v1/embeddings", json=embeddings).text
    spoken = talker.get("/api/v1/conversations").json["items"]
    assert len(spoken) == 2
    other.start()
    # A deletion gives no usage back.
    talker.delete(f"/api/v1/conversations/{spoken[0]['id']}")
    assert talker.post(START, json={"message": "one more"}).status_code == 429


def test_after_the_time_it_named_one_may_again(make_app: Any):
    person = Person(make_app(ratelimit_reads="2/8second").test_client(), "patient")
    codes = [person.get("/api/v1/me").status_code for _ in range(3)]
    refused = person.get("/api/v1/me")
    assert [*codes, refused.status_code] == [200, 200, 429, 429]
    assert 1 <= int(refused.headers["Retry-After"]) <= 8
    time.sleep(int(refused.headers["Retry-After"]))
    assert person.get("/api/v1/me").status_code == 200


@pytest.mark.parametrize("address", ["redis://127.0.0.1:1/0", "redis://10.255.255.1:6379/0"], ids=["refused", "silent"])
def test_without_redis_the_limit_holds_and_nothing_fails(make_app: Any, address: str):
    app = make_app(redis_url=address, ratelimit_new_conversations="3/minute")
    person = Person(app.test_client(), "unlucky")
    codes = [person.post(START, json={"message": f"{n}"}).status_code for n in range(5)]
    assert codes == [202, 202, 202, 429, 429]
    # The limiter does not wait for a silent Redis at each request: that would take 1 s each time.
    began = time.perf_counter()
    assert all(person.get("/api/v1/me").status_code == 200 for _ in range(60))
    assert time.perf_counter() - began < 30


def test_a_redis_that_dies_and_returns_is_counted_in_again(make_app: Any, tmp_path: Any):
    server = Valkey(tmp_path)
    server.start()
    try:
        person = Person(make_app(redis_url=server.url(), ratelimit_reads="3/minute").test_client(), "constant")
        assert [person.get("/api/v1/me").status_code for _ in range(4)] == [200, 200, 200, 429]
        server.kill()
        assert [person.get("/api/v1/me").status_code for _ in range(4)] == [200, 200, 200, 429]
        server.before_start()
        server.start()
        time.sleep(3)
        assert person.get("/api/v1/me").status_code in (200, 429)
    finally:
        server.stop()
