"""One trace over a request, both workers of a takeover, failover, a tool and the stream, as a collector receives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from app.domain.models import ModelSpec
from app.telemetry import names
from app.telemetry.names import HISTOGRAMS
from dev.server import free_port
from dev.valkey import Valkey
from tests.conftest import ROOT
from tests.fakes.collector import Collector, Received
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, Web, Worker, until

PATIENCE = 60.0
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{CALLER}-01"
SECRET_WORD, KEY, HEADER = "Ultramarine", "sk-of-the-upstream", "of-the-collector"
TOKENS = 60
CALL = {"name": "calculator", "arguments": {"expression": "1234567*8"}}


@dataclass
class Deployed:
    """Two workers and a web process that send to a collector."""

    stack: Stack
    web: Web
    workers: list[Worker]
    collector: Collector
    upstream: FakeUpstream

    def headers(self, **more: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.stack.token()}", **more}

    def post(self, wish: dict[str, Any], model: str, **headers: str) -> requests.Response:
        body = {"message": f"{SECRET_WORD} {json.dumps({'fake': wish})}", "model": model}
        url = f"{self.web.url}/api/v1/generations"
        return requests.post(url, json=body, headers=self.headers(**headers), stream=True, timeout=PATIENCE)

    def span(self, name: str, trace: str = TRACE, **attributes: Any) -> Received:
        """A span of a trace, once it has arrived."""

        def arrived() -> Received | None:
            return next((span for span in self.collector.named(name, **attributes) if span.trace_id == trace), None)

        return until(arrived, PATIENCE, f"{name} {attributes}")  # type: ignore[return-value]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey) -> Iterator[Deployed]:
    with Collector() as collector, FakeUpstream() as upstream:
        stack = Stack(
            tmp_path_factory.mktemp("traces"),
            module_database_url,
            valkey.url(),
            UPSTREAMS="dead,fake",
            UPSTREAM_DEAD_BASE_URL=f"http://127.0.0.1:{free_port()}/v1",
            UPSTREAM_FAKE_BASE_URL=upstream.base_url,
            UPSTREAM_FAKE_API_KEY=KEY,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_EXPORTER_OTLP_HEADERS=f"authorization=Bearer%20{HEADER}",
            OTEL_SERVICE_NAME="answers",
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=tests",
            OTEL_METRIC_EXPORT_INTERVAL=500,
            OTEL_BSP_SCHEDULE_DELAY=100,
        )
        targets = [{"upstream": "dead", "name": "fake"}, {"upstream": "fake", "name": "fake"}]
        spec = {"targets": targets, "tools": ["calculator"]}
        stack.resources.model_admin.put("both", ModelSpec.model_validate(spec))
        vectors = {"targets": [{"upstream": "fake", "name": "fake"}]}
        stack.resources.model_admin.put("vectors", ModelSpec.model_validate(vectors))
        workers = stack.workers(2)
        yield Deployed(stack, stack.web(), workers, collector, upstream)
        stack.stop()


@pytest.fixture(scope="module")
def taken_over(deployed: Deployed) -> list[Received]:
    """The spans of an answer whose first target is dead, which calls a tool, and whose worker is killed in its text."""
    wish = {"key": "taken over", "tokens": TOKENS, "rate": 20, "tool_call": CALL, "tool_rounds": 1}
    with ThreadPoolExecutor(1) as threads:
        answer = deployed.post(wish, "both", traceparent=PARENT, tracestate="own=1", Accept="text/event-stream")
        body = threads.submit(lambda: answer.content)
        tool = deployed.span("execute_tool calculator")
        generation_id = tool.attributes[names.GENERATION_ID]
        # Its text has begun behind the tool.
        until(lambda: len(deployed.upstream.calls) >= 2 and deployed.upstream.calls[-1].tokens_sent > 5, PATIENCE)
        [owner] = [worker for worker in deployed.workers if worker.name == tool.attributes[names.WORKER]]
        owner.kill()
        assert b'"type":"done"' in body.result(PATIENCE)
    assert deployed.stack.finished(generation_id).status == "completed"
    deployed.span("try", unbroken_status="completed")
    deployed.span("stream generation")
    return deployed.collector.of_trace(TRACE)


def one(spans: list[Received], name: str, **attributes: Any) -> Received:
    def has(span: Received) -> bool:
        return all(span.attributes.get(key.replace("__", ".")) == value for key, value in attributes.items())

    [found] = [span for span in spans if span.name == name and has(span)]
    return found


def test_a_taken_over_answer_is_one_tree(deployed: Deployed, taken_over: list[Received]) -> None:
    ids = {span.span_id for span in taken_over}
    assert len(ids) == len(taken_over)
    roots = [span for span in taken_over if span.parent not in ids]
    assert [(root.name, root.parent) for root in roots] == [("POST /api/v1/generations", CALLER)]
    assert {span.state for span in taken_over} == {"own=1"}


def test_both_workers_are_in_the_tree_and_the_second_links_to_the_first(
    deployed: Deployed, taken_over: list[Received]
) -> None:
    first, second = (one(taken_over, "claim", unbroken__epoch=epoch) for epoch in (1, 2))
    root = one(taken_over, "POST /api/v1/generations")
    assert first.parent == second.parent == root.span_id
    assert (first.links, second.links) == ((), ((TRACE, first.span_id),))
    workers = [span.attributes[names.WORKER] for span in (first, second)]
    assert sorted(workers) == sorted(worker.name for worker in deployed.workers)
    instances = {span.resource[names.SERVICE_INSTANCE_ID] for span in (root, first, second)}
    assert len(instances) == 3
    for span in taken_over:
        assert span.resource[names.SERVICE_NAME] == "answers"
        assert span.resource["deployment.environment.name"] == "tests"
    assert [root.resource[names.PROCESS_KIND], first.resource[names.PROCESS_KIND]] == ["web", "worker"]


def test_failover_and_tool_are_children_of_their_claim(taken_over: list[Received]) -> None:
    first, second = (one(taken_over, "claim", unbroken__epoch=epoch) for epoch in (1, 2))
    failed = one(taken_over, "chat fake", unbroken__target="dead/fake")
    asked = one(taken_over, "chat fake", unbroken__epoch=1, unbroken__target="fake/fake")
    tool = one(taken_over, "execute_tool calculator")
    goes_on = one(taken_over, "chat fake", unbroken__epoch=2)
    assert [span.parent for span in (failed, asked, tool, goes_on)] == [first.span_id] * 3 + [second.span_id]
    assert failed.is_error
    assert failed.attributes[names.ERROR_TYPE] == "upstream_connection"
    assert [span for span in (asked, tool, goes_on) if span.is_error] == []
    assert failed.begin <= asked.begin <= tool.begin <= goes_on.begin
    assert tool.attributes.keys() >= {names.TOOL_CALL_ID, names.TOOL_TYPE}


def test_the_end_is_an_event_and_what_a_killed_worker_lost_is_named(taken_over: list[Received]) -> None:
    ended = one(taken_over, "try")
    assert ended.event_names[-1] == "end"
    assert ended.events[-1][1][names.STATUS] == "completed"
    lost = [attributes for name, attributes in ended.events if name == "lost"]
    assert [attributes[names.TARGET] for attributes in lost] == ["fake/fake"]


def test_a_call_has_what_the_conventions_name_and_the_providers_count(
    deployed: Deployed, taken_over: list[Received]
) -> None:
    call = one(taken_over, "chat fake", unbroken__epoch=2)
    usage = deployed.upstream.calls[-1]
    attributes = call.attributes
    assert call.kind == 3
    assert (attributes[names.OPERATION], attributes[names.PROVIDER]) == ("chat", "fake")
    assert attributes[names.SERVER_ADDRESS] == "127.0.0.1"
    assert attributes[names.RESPONSE_FINISH_REASONS] == ["stop"]
    assert attributes[names.USAGE_OUTPUT_TOKENS] == usage.tokens_sent
    assert 0 < attributes[names.RESPONSE_TIME_TO_FIRST_CHUNK] < PATIENCE
    assert names.USAGE_INPUT_TOKENS not in one(taken_over, "chat fake", unbroken__target="dead/fake").attributes


def test_the_upstream_receives_the_trace_of_its_call_and_no_state(
    deployed: Deployed, taken_over: list[Received]
) -> None:
    call = one(taken_over, "chat fake", unbroken__epoch=2)
    headers = {name.lower(): value for name, value in deployed.upstream.calls[-1].headers.items()}
    _, trace, parent, _ = headers["traceparent"].split("-")
    assert (trace, parent) == (TRACE, call.span_id)
    assert "tracestate" not in headers


def test_a_stream_has_a_span_with_its_reason(taken_over: list[Received]) -> None:
    stream, root = one(taken_over, "stream generation"), one(taken_over, "POST /api/v1/generations")
    assert stream.parent == root.span_id
    assert stream.event_names == ["open", "first event", "close"]
    assert stream.attributes[names.REASON] == "done"
    assert stream.attributes[names.STREAM_EVENTS] > TOKENS / 2
    # The request's span has ended when its response was ready; the stream's goes on to its end.
    assert root.end < stream.end
    assert stream.end - stream.begin > 1_000_000_000


def test_no_span_has_content_or_a_secret(deployed: Deployed, taken_over: list[Received]) -> None:
    sent = b"".join(deployed.collector.bodies)
    for word in (SECRET_WORD, "1234567*8", "9876536", KEY, HEADER, "Bearer", deployed.stack.user.id):
        assert word.encode() not in sent, word
    assert {headers["authorization"] for headers in deployed.collector.headers} == {f"Bearer {HEADER}"}


def test_the_histograms_have_the_buckets_of_the_conventions(deployed: Deployed, taken_over: list[Received]) -> None:
    # A killed worker loses what it has measured since its last export: the other one calls a tool, too.
    wish = {"key": "measured", "tokens": 5, "rate": 0, "tool_call": CALL, "tool_rounds": 1}
    deployed.post(wish, "both")
    until(lambda: deployed.collector.metrics.keys() >= HISTOGRAMS.keys(), PATIENCE, "the histograms")
    for name, metric in deployed.collector.metrics.items():
        form = HISTOGRAMS[name]
        point = metric.histogram.data_points[0]
        assert (metric.unit, tuple(point.explicit_bounds)) == (form.unit, form.bounds)
        assert point.count


def test_an_unsampled_request_leaves_no_span_and_keeps_its_flag(deployed: Deployed) -> None:
    trace = "5bf92f3577b34da6a3ce929d0e0e4736"
    answer = deployed.post({"key": "unsampled", "tokens": 3, "rate": 0}, "both", traceparent=f"00-{trace}-{CALLER}-00")
    generation_id = answer.json()["generation"]["id"]
    assert deployed.stack.finished(generation_id).status == "completed"
    headers = {name.lower() for name in deployed.upstream.calls[-1].headers}
    assert "traceparent" not in headers
    # Spans leave in order: a later one has arrived.
    after = deployed.post({"key": "sampled", "tokens": 3, "rate": 0}, "both", traceparent=PARENT.replace("4b", "6b"))
    assert after.status_code == 202
    deployed.span("try", trace=TRACE.replace("4b", "6b"))
    assert deployed.collector.of_trace(trace) == []


def test_a_request_without_a_trace_begins_one(deployed: Deployed) -> None:
    answer = deployed.post({"key": "own trace", "tokens": 3, "rate": 0}, "both")
    generation_id = answer.json()["generation"]["id"]

    def spans_named(name: str) -> list[Received]:
        found = deployed.collector.named(name)
        return [span for span in found if span.attributes.get(names.GENERATION_ID) == generation_id]

    # Each process sends its own spans in the order of their ends.
    [root] = until(lambda: spans_named("POST /api/v1/generations"), PATIENCE, "the span of the request")
    [ended] = until(lambda: spans_named("try"), PATIENCE, "the span of the worker")
    spans = deployed.collector.of_trace(ended.trace_id)
    assert root.parent == ""
    assert root.attributes[names.GENERATION_ID] == generation_id
    assert one(spans, "claim").parent == root.span_id


def test_embeddings_and_their_request_are_one_trace(deployed: Deployed) -> None:
    trace = TRACE.replace("4b", "7b")
    answer = requests.post(
        f"{deployed.web.url}/v1/embeddings",
        json={"model": "vectors", "input": SECRET_WORD},
        headers=deployed.headers(traceparent=PARENT.replace(TRACE, trace)),
        timeout=PATIENCE,
    )
    assert answer.status_code == 200, answer.text
    call = deployed.span("embeddings fake", trace)
    root = deployed.span("POST /v1/embeddings", trace)
    assert (root.parent, call.parent) == (CALLER, root.span_id)
    assert call.attributes[names.USAGE_INPUT_TOKENS] == answer.json()["usage"]["prompt_tokens"]
    assert names.CONVERSATION_ID not in call.attributes
    # It waited for the worker without a thread, and its span lasts until the response was ready.
    assert root.begin <= call.begin
    assert call.end <= root.end


def test_a_frozen_collector_costs_nothing_but_spans(deployed: Deployed) -> None:
    deployed.collector.mode = "freeze"
    try:
        answer = deployed.post({"key": "frozen", "tokens": 10, "rate": 0}, "both")
        generation_id = answer.json()["generation"]["id"]
        assert deployed.stack.finished(generation_id).status == "completed"
    finally:
        deployed.collector.mode = "take"


def test_without_an_endpoint_nothing_of_it_is_imported(module_database_url: str, valkey: Valkey) -> None:
    program = """
import sys
import wsgi
wsgi.app.extensions["unbroken"].start()
import worker.celery_app
worker.celery_app._start(type("Node", (), {"hostname": "no-traces@test"}))
rooms = [name.split(".")[0] for name, found in sys.modules.items() if found]
print(">>", rooms.count("opentelemetry") + rooms.count("google"))
import opentelemetry.trace  # a tool may need it
import os
os._exit(0)
"""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
        "DATABASE_URL": module_database_url,
        "DATABASE_LOGINS": "one",
        "REDIS_URL": valkey.url(),
        "JWT_SECRET": "s" * 40,
    }
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert [line for line in lines if line.startswith(">>")] == [">> 0"]


def test_a_worker_that_leaves_sends_the_spans_of_what_it_gives_back(deployed: Deployed) -> None:
    trace, before = TRACE.replace("4b", "8b"), len(deployed.upstream.calls)
    wish = {"key": "given back", "tokens": 4000, "rate": 20}
    answer = deployed.post(wish, "both", traceparent=PARENT.replace(TRACE, trace))
    calls = deployed.upstream.calls
    until(lambda: len(calls) > before and calls[-1].tokens_sent > 2, PATIENCE, "the first tokens")
    watched, _ = deployed.stack.resources.admin.one(answer.json()["generation"]["id"])
    [worker] = [worker for worker in deployed.workers if worker.name == watched.worker]
    worker.signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == 0
    left = deployed.span("try", trace)
    assert left.attributes[names.REASON] == "handed on"
    assert not left.is_error
    call = deployed.span("chat fake", trace, unbroken_status="interrupted")
    assert not call.is_error
