"""Telemetry without a deployment: names, settings, the queue of spans, and calls of models with and without content."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from app.config import Settings
from app.domain.lease import Claimed, Lease
from app.domain.trace_context import TraceContext
from app.domain.upstreams import Upstream
from app.telemetry import current, names, outgoing
from app.telemetry.interface import TelemetryOptions
from app.telemetry.names import HISTOGRAMS
from app.telemetry.spans import NO_SPAN, SpanStart
from tests.fakes.collector import Collector
from tests.stack import until
from worker.generation_trace import GenerationTrace, GenerationTraces
from worker.model_call import CallFacts, model_call
from worker.providers.base import ChatMessage, Finished, Prompt, ProviderError, ToolCall, Usage
from worker.upstream_servers import UpstreamServer, servers

GENERATION = "01a22c3f-c6bd-7164-8154-81f9aae607d7"
SECRET = "a text of a user"
REQUIRED = {"database_url": "postgresql://h/d", "redis_url": "redis://h", "jwt_secret": "s" * 40}


class Counts:
    def __init__(self) -> None:
        self.taken = self.lost = 0

    def exported(self, spans: int) -> None:
        self.taken += spans

    def dropped(self, spans: int, reason: str) -> None:
        self.lost += spans


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture
def counts() -> Iterator[Counts]:
    yield Counts()
    current.stop()


def start(collector: Collector, counts: Counts, **options: Any) -> None:
    """Record in this process, until the test ends."""
    collector.mode = "take"
    collector.spans.clear()
    current.start(TelemetryOptions(f"{collector.url}/v1/traces", None, **options), "worker", counts)


def end(collector: Collector) -> None:
    """Everything recorded has arrived afterwards."""
    current.stop()


# --- names -----------------------------------------------------------------------------------------------------------


def test_the_names_are_those_of_the_package() -> None:
    current.allow_import()
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
    from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
    from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes, url_attributes

    modules = (
        gen_ai_attributes, gen_ai_metrics, error_attributes, http_attributes, server_attributes, url_attributes,
    )  # fmt: skip
    known = {value for module in modules for value in vars(module).values() if isinstance(value, str)}
    values = (value for value in vars(names).values() if isinstance(value, str))
    ours = {value for value in values if value.startswith(("gen_ai.", "error.", "http.", "server.", "url."))}
    # The package has no metric of tools; the conventions have it.
    assert ours - known == {names.TOOL_DURATION}
    assert len(ours) > 35


@pytest.mark.parametrize("name", sorted(HISTOGRAMS))
def test_the_buckets_rise(name: str) -> None:
    bounds = HISTOGRAMS[name].bounds
    assert list(bounds) == sorted(set(bounds))
    if name == names.CLIENT_TOKENS:
        assert (bounds[0], bounds[-1]) == (1, 67_108_864)
    if name == names.CLIENT_DURATION:
        assert (bounds[0], bounds[-1]) == (0.01, 81.92)


@pytest.mark.parametrize(
    ("url", "kind", "provider"),
    [
        ("https://api.openai.com/v1", "openai", "openai"), ("https://api.anthropic.com", "anthropic", "anthropic"),
        ("https://me.openai.azure.com/openai", "openai", "azure.ai.openai"), ("https://api.x.ai/v1", "openai", "x_ai"),
        ("https://generativelanguage.googleapis.com", "gemini", "gcp.gemini"), ("http://vllm:8000", "openai", "mine"),
        ("https://notapi.x.ai.example/v1", "openai", "mine"), ("https://u:p@api.groq.com:444/v1", "openai", "groq"),
    ],
)  # fmt: skip
def test_a_provider_is_known_by_its_host(url: str, kind: Any, provider: str) -> None:
    server = servers([Upstream("mine", kind, url)])["mine"]
    assert server.provider == provider
    assert "@" not in (server.address or "")
    assert server.operation == ("generate_content" if kind == "gemini" else "chat")


# --- settings --------------------------------------------------------------------------------------------------------


def settings(**given: Any) -> Settings:
    return Settings(**REQUIRED, **given)


@pytest.mark.parametrize(
    "given",
    [{}, {"otel_exporter_otlp_endpoint": "http://c", "otel_sdk_disabled": "true"},
     {"otel_exporter_otlp_endpoint": "http://c", "otel_traces_exporter": "none", "otel_metrics_exporter": "none"}],
)  # fmt: skip
def test_telemetry_is_off(given: dict[str, str]) -> None:
    assert settings(**given).telemetry is None


def test_the_endpoint_gets_the_paths_and_the_headers_are_decoded() -> None:
    given = settings(
        otel_exporter_otlp_endpoint="https://c.example/otel/",
        otel_exporter_otlp_headers="authorization=Basic%20YTpi, x=1",
    )
    options = given.telemetry
    assert options is not None
    assert (options.traces, options.metrics) == (
        "https://c.example/otel/v1/traces",
        "https://c.example/otel/v1/metrics",
    )
    assert options.headers == {"authorization": "Basic YTpi", "x": "1"}
    assert "YTpi" not in repr(options) + repr(given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("otel_exporter_otlp_endpoint", "collector:4318"), ("otel_exporter_otlp_protocol", "grpc"),
        ("otel_exporter_otlp_headers", "hunter2"), ("otel_exporter_otlp_headers", "a=hunter2%0d%0ax: 1"),
        ("otel_traces_sampler", "sometimes"), ("otel_traces_sampler_arg", "1.5"),
        ("otel_instrumentation_genai_capture_message_content", "EVENT_ONLY"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_used_is_refused_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(ValidationError) as raised:
        settings(**{"otel_exporter_otlp_endpoint": "http://c", name: value})
    from app.setting_errors import complaints

    lines = complaints(raised.value)
    assert any(name.upper() in line for line in lines)
    assert "hunter2" not in "".join(lines)


@pytest.mark.parametrize(("value", "is_on"), [("SPAN_ONLY", True), ("true", True), ("NO_CONTENT", False), ("0", False)])
def test_content_is_recorded_by_choice(value: str, is_on: bool) -> None:
    given = settings(otel_exporter_otlp_endpoint="http://c", otel_instrumentation_genai_capture_message_content=value)
    assert given.telemetry is not None
    assert given.telemetry.captures_content is is_on


def test_a_header_that_the_sdk_cannot_read_is_in_no_line(
    collector: Collector, counts: Counts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "=hunter2,x y=hunter2")
    start(collector, counts)
    end(collector)
    assert "hunter2" not in caplog.text


def test_a_value_that_the_sdk_refuses_stops_no_process(
    collector: Collector, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many")
    with capture_logs() as lines:
        start(collector, counts)
    assert not current.current().is_on
    assert [line["event"] for line in lines] == ["telemetry is off"]


# --- the queue -------------------------------------------------------------------------------------------------------


def test_a_collector_that_never_answers_costs_spans_and_no_time(collector: Collector, counts: Counts) -> None:
    start(collector, counts)
    collector.mode = "freeze"
    telemetry, most, longest = current.current(), 6000, 0.0
    for _ in range(most):
        began = time.thread_time()
        telemetry.span(SpanStart("x")).end()
        longest = max(longest, time.thread_time() - began)
    assert longest < 0.5
    assert counts.lost >= most - 2048 - 512
    began = time.monotonic()
    current.stop()
    # The bound of the exit, with slack for a busy machine.
    assert time.monotonic() - began < 6
    until(lambda: counts.lost >= most - 512, 60, "the count of the lost spans")
    collector.mode = "take"


def test_a_request_without_a_reply_holds_up_no_span_at_the_exit(collector: Collector, counts: Counts) -> None:
    start(collector, counts)
    collector.mode, before = "freeze", collector.requests
    current.current().span(SpanStart("frozen")).end()
    until(lambda: collector.requests > before, 60, "the request that gets no reply")
    collector.mode = "take"
    current.current().span(SpanStart("last")).end()
    end(collector)
    assert [span.name for span in collector.spans] == ["last"]
    assert counts.taken == 1


def test_spans_that_a_collector_refuses_are_counted(
    collector: Collector, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    start(collector, counts)
    collector.mode = "refuse"
    current.current().span(SpanStart("x")).end()
    until(lambda: counts.lost == 1, 60, "the count of the lost span")
    collector.mode = "take"
    current.current().span(SpanStart("y")).end()
    end(collector)
    assert [span.name for span in collector.spans] == ["y"]
    assert counts.taken == 1


def test_spans_of_many_threads_arrive_once(collector: Collector, counts: Counts) -> None:
    start(collector, counts)

    def make(number: int) -> None:
        for _ in range(50):
            current.current().span(SpanStart(f"t{number}")).end()

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: len(collector.spans) == 400, 60, "all spans")
    assert len({span.span_id for span in collector.spans}) == 400


def test_times_between_chunks_are_counted_like_the_others(collector: Collector, counts: Counts) -> None:
    collector.mode = "take"
    options = TelemetryOptions(f"{collector.url}/v1/traces", f"{collector.url}/v1/metrics")
    current.start(options, "worker", counts)
    each = current.current().chunk_recorder({names.OPERATION: "chat"})
    assert each is not None
    current.current().record(names.CLIENT_FIRST_CHUNK, 0.5, {})
    times = (0.01, 0.0100001, 0.3, 99.0, 0.0)
    for seconds in times:
        each(seconds)
    end(collector)
    point = collector.metrics[names.CLIENT_CHUNK].histogram.data_points[0]
    # A bound belongs to the bucket below it, as in the SDK.
    assert (point.bucket_counts[0], point.bucket_counts[1], point.bucket_counts[-1]) == (2, 1, 1)
    assert (point.count, point.sum, point.min, point.max) == (5, sum(times), 0.0, 99.0)
    assert tuple(point.explicit_bounds) == HISTOGRAMS[names.CLIENT_CHUNK].bounds
    assert collector.metrics[names.CLIENT_FIRST_CHUNK].histogram.data_points[0].count == 1


# --- calls of models -------------------------------------------------------------------------------------------------


def facts(**parameters: Any) -> CallFacts:
    messages = (ChatMessage("user", SECRET), ChatMessage("assistant", "", (ToolCall("c", "f", '{"x": 1}'),)))
    prompt = Prompt("m", messages, {"stop": [SECRET], "user": SECRET, **parameters})
    return CallFacts(UpstreamServer("openai", "chat", "h", 443), prompt, "conversation", True, {})


def test_a_call_has_numbers_only_and_no_text(collector: Collector, counts: Counts) -> None:
    start(collector, counts)
    odd = {"temperature": SECRET, "top_p": True, "seed": 1 << 70, "max_tokens": 5, "frequency_penalty": 1}
    with model_call(None, facts(**odd)) as call:
        call.chunk()
        call.chunk()
        call.finished(Finished("stop", Usage(3, 2, reasoning_tokens=1)), SECRET)
    end(collector)
    [span] = collector.spans
    assert SECRET.encode() not in b"".join(collector.bodies)
    assert span.name == "chat m"
    assert span.attributes[names.REQUEST_MAX_TOKENS] == 5
    assert span.attributes[names.REQUEST_FREQUENCY_PENALTY] == 1.0
    assert (span.attributes[names.USAGE_INPUT_TOKENS], span.attributes[names.USAGE_REASONING]) == (3, 1)
    assert span.attributes.keys().isdisjoint({names.REQUEST_TEMPERATURE, names.REQUEST_TOP_P, names.REQUEST_SEED})


def test_a_call_without_a_count_has_no_usage(collector: Collector, counts: Counts) -> None:
    start(collector, counts)
    with model_call(None, facts()) as call:
        call.finished(Finished("stop", None))
    end(collector)
    assert not [name for name in collector.spans[0].attributes if name.startswith("gen_ai.usage")]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProviderError("upstream_rate_limited", SECRET, retryable=True), "upstream_rate_limited"),
        (TimeoutError(), "timeout"),
    ],
)
def test_a_call_that_fails_has_its_code_and_not_its_text(
    collector: Collector, counts: Counts, error: Exception, code: str
) -> None:
    start(collector, counts)
    collector.bodies.clear()
    with pytest.raises(type(error)), model_call(None, facts()):
        raise error
    end(collector)
    [span] = collector.spans
    assert (span.is_error, span.attributes[names.ERROR_TYPE]) == (True, code)
    assert SECRET.encode() not in b"".join(collector.bodies)
    assert span.events == ()


def test_a_call_that_is_interrupted_here_is_no_error(collector: Collector, counts: Counts) -> None:
    start(collector, counts)
    with pytest.raises(KeyboardInterrupt), model_call(None, facts()):
        raise KeyboardInterrupt
    end(collector)
    [span] = collector.spans
    assert not span.is_error
    assert span.attributes[names.STATUS] == "interrupted"


def test_content_is_in_the_span_where_it_was_chosen_and_bounded(collector: Collector, counts: Counts) -> None:
    start(collector, counts, captures_content=True)
    long = CallFacts(
        UpstreamServer("openai"),
        Prompt("m", (ChatMessage("user", "old" * 30_000), ChatMessage("user", SECRET))),
        "c",
        True,
        {},
    )
    with model_call(None, long) as call:
        call.finished(Finished("stop", None), "x" * 100_000)
    end(collector)
    [span] = collector.spans
    assert SECRET in span.attributes[names.INPUT_MESSAGES]
    assert "old" not in span.attributes[names.INPUT_MESSAGES]
    assert span.attributes[names.OMITTED] == 1
    assert len(span.attributes[names.OUTPUT_MESSAGES]) < 66_000


# --- traces of generations -------------------------------------------------------------------------------------------


def claimed(epoch: int, trace: TraceContext | None = None, *, cancelled: bool = False) -> Claimed:
    return Claimed(
        lease=Lease(GENERATION, epoch), user_id="u", conversation_id="c", message_id="m", user_message_id="n",
        model="m", parameters={}, attempts=[], tries=epoch, cancelled=cancelled, remaining=None, age=1.0,
        model_version=1, trace=trace,
    )  # fmt: skip


def traced(*claims: Claimed) -> list[GenerationTrace]:
    made = [GenerationTraces(f"w{n}", ()).claimed(claim, time.time_ns()) for n, claim in enumerate(claims)]
    for trace in made:
        trace.close("completed")
    return made


def test_without_a_trace_all_workers_share_the_one_of_the_generation(collector: Collector, counts: Counts) -> None:
    start(collector, counts)
    traced(claimed(1), claimed(2))
    end(collector)
    assert {span.trace_id for span in collector.spans} == {GENERATION.replace("-", "")}
    first, second = collector.named("claim")
    assert (first.parent, second.parent) == ("", "")
    assert second.links == ((first.trace_id, first.span_id),)


def test_a_cancelled_generation_links_to_no_span(collector: Collector, counts: Counts) -> None:
    start(collector, counts)
    traced(claimed(2, cancelled=True))
    end(collector)
    assert collector.named("claim")[0].links == ()


def test_a_revision_of_the_same_worker_is_a_child_and_links_to_the_one_before(
    collector: Collector, counts: Counts
) -> None:
    start(collector, counts)
    trace = GenerationTraces("w", ()).claimed(claimed(1), time.time_ns())
    trace.advanced(claimed(2))
    with trace.titling("offline", Prompt("m", ())) as call:
        call.finished(Finished("stop", None))
    trace.close("completed")
    end(collector)
    [first], [revision], [title] = (collector.named(name) for name in ("claim", "revision", "chat m"))
    assert (revision.parent, revision.links) == (first.span_id, ((first.trace_id, first.span_id),))
    assert title.parent == revision.span_id


def test_requests_carry_the_trace_inside_a_call_only(collector: Collector, counts: Counts) -> None:
    start(collector, counts)
    parent = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", 1)
    with model_call(parent, facts()) as call:
        sent = outgoing.traceparent()
        call.finished(Finished("stop", None))
    assert outgoing.traceparent() is None
    end(collector)
    assert sent is not None
    assert sent.split("-")[1:3] == [parent.trace_id, collector.spans[0].span_id]


def test_an_unsampled_trace_is_not_carried(collector: Collector, counts: Counts) -> None:
    start(collector, counts)
    parent = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", 0)
    with model_call(parent, facts()) as call:
        assert outgoing.traceparent() is None
        call.finished(Finished("stop", None))
    end(collector)
    assert collector.spans == []


def test_off_everything_is_empty() -> None:
    assert current.current().span(SpanStart("x")) is NO_SPAN
    [trace] = traced(claimed(1))
    trace.event("retry", ERROR_TYPE="x")
    with model_call(None, facts()) as call:
        assert not call.is_measured
        call.finished(Finished("stop", Usage(1, 1)))
