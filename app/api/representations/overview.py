"""The service at a glance, and over time, as operators see it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.api.representations.fields import Json
from app.api.representations.upstreams import WatchedUpstream
from app.domain.histogram import Histogram, percentile
from app.services.minutes import Point, Total


class Percentiles(BaseModel):
    """Milliseconds, from a histogram: at most a tenth off. Null without a value."""

    p50: float | None
    p95: float | None

    @staticmethod
    def of(histogram: Histogram) -> Json:
        """The percentiles of a histogram."""
        return {"p50": percentile(histogram, 0.5), "p95": percentile(histogram, 0.95)}


class ErrorCount(BaseModel):
    """The number of answers that ended with an error."""

    code: str
    count: int


class Counts(BaseModel):
    """Counts over a span of time. Null: not counted."""

    started: int | None = Field(description="Accepted answers")
    completed: int | None
    failed: int | None
    cancelled: int | None
    takeovers: int | None
    failovers: int | None
    first_token_ms: Percentiles = Field(description="From acceptance, of answers that ended in the span")
    total_ms: Percentiles = Field(description="From acceptance, of answers that were completed in the span")
    input_tokens: int | None
    output_tokens: int | None

    @staticmethod
    def counts(total: Total | None) -> Json:
        """The counts of a span."""
        numbers = {name: getattr(total, name, None) for name in _NUMBERS}
        first_token, whole = (total.first_token, total.total) if total else ({}, {})
        return {**numbers, "first_token_ms": Percentiles.of(first_token), "total_ms": Percentiles.of(whole)}


_NUMBERS = ("started", "completed", "failed", "cancelled", "takeovers", "failovers", "input_tokens", "output_tokens")


class LastHour(Counts):
    """The counts of the last 60 minutes."""

    errors: list[ErrorCount] = Field(description="Most frequent first")

    @staticmethod
    def of(total: Total) -> Json:
        """The counts of the last hour."""
        errors = [{"code": code, "count": count} for code, count in total.errors.items()]
        return {**Counts.counts(total), "errors": errors}


class SeriesPoint(Counts):
    """A step of a plot. A gauge is the highest of its samples, one a minute. Null: nothing was sampled."""

    at: datetime = Field(description="The beginning of the step")
    waiting: int | None
    running: int | None
    slots: int | None
    streams_open: int | None
    webhooks_waiting: int | None

    @staticmethod
    def of(point: Point) -> Json:
        """A step."""
        gauges = {name: getattr(point.gauges, name) for name in point.gauges.__dataclass_fields__}
        return {"at": point.at, **Counts.counts(point.counts), **gauges}


class Series(BaseModel):
    """The service over time, oldest step first."""

    span: Literal["hour", "day"]
    step_seconds: int
    points: list[SeriesPoint]


class WorkerCounts(BaseModel):
    """Workers by state. Lost ones have not reported for WORKER_LOST_SECONDS."""

    working: int
    draining: int
    lost: int


class StoreStatus(BaseModel):
    """A store. ``no writes``: it answers and refuses writes, such as a Redis that is full."""

    status: Literal["ok", "no writes", "down"]
    latency_ms: float | None = Field(description="Of a small question just now")


class BrokerStatus(BaseModel):
    """The broker."""

    status: Literal["ok", "down"]


class Stores(BaseModel):
    """The stores behind the service."""

    postgresql: StoreStatus
    redis: StoreStatus
    broker: BrokerStatus


class WebhookBacklog(BaseModel):
    """Webhook deliveries."""

    waiting: int
    oldest_seconds: float | None = Field(description="How long the most overdue has been due; null when none waits")
    dead: int


class Overview(BaseModel):
    """The service at a glance. Null: not known."""

    at: datetime
    ready: bool
    reasons: list[str]
    degraded: list[str]
    waiting: int
    oldest_wait_seconds: float
    running: int
    slots: int = Field(description="Of all workers that take answers")
    stuck: int
    workers: WorkerCounts
    last_hour: LastHour
    streams_open: int | None = Field(description="Of all web processes, at most 5 s old")
    upstreams: list[WatchedUpstream] | None = Field(description="Null while Redis, which has the breakers, is away")
    stores: Stores
    webhooks: WebhookBacklog


class WatchedQueue(BaseModel):
    """A queue of the service. Null: not known, or not counted for this queue."""

    name: Literal["generations", "webhooks", "embeddings"]
    waiting: int | None
    oldest_wait_seconds: float | None
    running: int | None
    slots: int | None
    dead: int | None = Field(description="Webhook deliveries that were given up")
    broker_messages: int | None = Field(description="Tasks in the broker that no worker has received yet")


class WatchedQueues(BaseModel):
    """Every queue."""

    items: list[WatchedQueue]
