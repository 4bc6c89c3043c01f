"""A request waits for a frozen Redis a bounded time altogether, and a cancel is answered within a second."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from app.api.web_process import EXTENSION
from app.domain.events import Token
from app.services.leases import Leases
from app.wiring import Resources, build
from dev.valkey import Valkey
from tests.bounded import ended
from tests.fakes.proxy import TcpProxy
from tests.integration.api.conftest import Hand, Person, make_settings

ALLOWANCE = 0.5
PROMISE = 1.0
# The processor time of a request on a busy machine. Without its allowance a request waits for more than 30 s.
SLACK_SECONDS = 2.0
# A request that has not ended by now is lost.
LOST_SECONDS = 10.0
SLOW_SECONDS = 0.7

Trouble = Callable[[], None]


@dataclass(frozen=True)
class Deployment:
    """An application, its workers' services, and two functions: one makes its Redis fail, the other restores it."""

    app: Any
    workers: Resources
    kind: str
    begin_trouble: Trouble
    heal: Trouble


@pytest.fixture(scope="module")
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("frozen"))
    server.start()
    yield server
    assert server.process
    os.kill(server.process.pid, signal.SIGCONT)
    server.stop()


@pytest.fixture(params=["frozen", "slow", "black hole", "gone", "full"])
def troubled(
    request: pytest.FixtureRequest, own_valkey: Valkey, make_app: Any, database_url: str
) -> Iterator[Deployment]:
    with TcpProxy.before(own_valkey.url()) as proxy:
        app = make_app(redis_url=proxy.url(own_valkey.url()), redis_seconds_per_request=ALLOWANCE)
        namespace, pid = app.extensions[EXTENSION].settings.redis_namespace, own_valkey.process
        assert pid
        workers = build(make_settings(database_url, own_valkey.url(), redis_namespace=namespace))
        kinds: dict[str, Trouble] = {
            "frozen": lambda: os.kill(pid.pid, signal.SIGSTOP),
            "slow": lambda: proxy.delay(SLOW_SECONDS),
            "black hole": proxy.black_hole,
            "gone": proxy.refuse,
            "full": lambda: workers.redis.config_set("maxmemory", "1mb"),
        }

        def heal() -> None:
            os.kill(pid.pid, signal.SIGCONT)
            proxy.pass_()
            workers.redis.config_set("maxmemory", "0")

        yield Deployment(app, workers, request.param, kinds[request.param], heal)
        heal()
        workers.close()


def timed(ask: Callable[[], Any]) -> Any:
    """The result of ``ask``. Asserts that it comes within the promised time."""
    seconds, answer = ended(ask, LOST_SECONDS)
    assert seconds < PROMISE + SLACK_SECONDS
    return answer


def test_no_request_waits_for_redis_longer_than_its_allowance(troubled: Deployment) -> None:
    resources = troubled.workers
    alice = Person(troubled.app.test_client(), "alice")
    running = [alice.start("a question") for _ in range(3)]
    hands = [Hand(resources, one["generation"]["id"]) for one in running]
    for hand in hands:
        hand.save()
    spare = alice.start("another question")
    Hand(resources, spare["generation"]["id"]).run("done")
    ids = [one["generation"]["id"] for one in running]
    conversations = [one["conversation"]["id"] for one in running]

    def ask(number: int) -> dict[str, Callable[[], Any]]:
        return {
            "cancel": lambda: alice.post(f"/api/v1/generations/{ids[number]}/cancel"),
            "delete": lambda: alice.delete(f"/api/v1/conversations/{conversations[number + 1]}"),
            "create": lambda: alice.post("/api/v1/generations", json={"message": "hello"}),
            "interrupt": lambda: alice.post(
                "/api/v1/generations",
                json={"message": "stop", "conversation_id": conversations[2], "on_busy": "interrupt"},
            ),
            "regenerate": lambda: alice.post(
                f"/api/v1/messages/{spare['generation']['message_id']}/regenerate", json={}
            ),
            "ticket": lambda: alice.post("/api/v1/stream-tickets", json={"generation_id": spare["generation"]["id"]}),
            "look": lambda: alice.get(f"/api/v1/generations/{spare['generation']['id']}"),
            "status": lambda: alice.get(f"/api/v1/conversations/{spare['conversation']['id']}/status"),
        }

    troubled.begin_trouble()
    answers = {what: timed(one) for what, one in ask(0).items()}
    assert {what: answer.status_code for what, answer in answers.items()} == {
        "cancel": 200 if troubled.kind == "full" else 202,
        "delete": 204,
        "create": 202,
        "interrupt": 202,
        "regenerate": 202,
        "ticket": 200,
        "look": 200,
        "status": 200,
    }
    assert answers["cancel"].json["status"] == ("cancelled" if troubled.kind == "full" else "running")


def test_a_cancel_takes_back_no_text_that_readers_have_seen(troubled: Deployment) -> None:
    """The request stores the cancel. A worker that can read the log ends the answer with all of its text."""
    alice = Person(troubled.app.test_client(), "alice")
    hand = Hand(troubled.workers, alice.start("a question")["generation"]["id"])
    hand.save()
    hand.say(Token("seen, "), Token("not saved"))
    troubled.begin_trouble()
    cancelled = timed(lambda: alice.post(f"/api/v1/generations/{hand.id}/cancel"))
    again = alice.post(f"/api/v1/generations/{hand.id}/cancel")
    assert cancelled.status_code == again.status_code == (200 if troubled.kind == "full" else 202)
    assert again.json == cancelled.json
    troubled.heal()
    if troubled.kind != "full":
        claimed = Leases(troubled.workers.database, "next", 1, 600).claim(hand.id)
        assert claimed is not None, "the lease of the cancel is over"
        assert claimed.cancelled
        assert troubled.workers.generations.finish_cancel(claimed, 5, must_read=True)
    final = alice.post(f"/api/v1/generations/{hand.id}/cancel")
    assert (final.status_code, final.json["status"], final.json["content"]) == (200, "cancelled", "seen, not saved")
