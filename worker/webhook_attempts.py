"""One attempt of a webhook delivery: signed at its time, sent once, and described for its owner."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import structlog

from app.domain import webhook_signature
from app.domain.webhook_schedule import Attempt, retry_after
from app.egress.client import EgressClient, Reply
from app.egress.exchange import NoReply
from app.egress.resolver import NameNotFound
from app.egress.rules import Refused
from app.store.webhook_outbox import DueDelivery

_log = structlog.get_logger()


class Attempts:
    """Makes attempts, by the requests of one client."""

    def __init__(self, client: EgressClient) -> None:
        self._client = client

    async def make(self, due: DueDelivery) -> Attempt:
        """Send a delivery once. Raises nothing but a cancellation: a failure is in the result."""
        began = time.monotonic()
        try:
            reply = await self._client.post(due.url, _headers(due), due.body)
        except Refused as refusal:
            _log.warning("webhook address refused", action="webhook", detail=str(refusal), **log_fields(due))
            return Attempt(_milliseconds(began), error=str(refusal))
        except (NameNotFound, NoReply) as failure:
            return Attempt(_milliseconds(began), error=str(failure))
        except Exception:  # the delivery has its attempts all the same, and ends
            _log.exception("webhook attempt failed", action="webhook", **log_fields(due))
            return Attempt(_milliseconds(began), error="the attempt failed inside this service")
        return _attempt(reply, _milliseconds(began))


def log_fields(due: DueDelivery) -> dict[str, str | int | None]:
    """Fields of a log line: ids, and neither the address nor a secret."""
    return {
        "request_id": due.request_id,
        "generation_id": due.generation_id,
        "user_id": due.user_id,
        "delivery": due.id,
        "endpoint": due.endpoint_id,
        "event_id": due.event_id,
        "event_type": due.event_type,
        "attempt": due.number,
    }


def _headers(due: DueDelivery) -> dict[str, str]:
    signed = webhook_signature.headers(due.secrets, due.event_id, int(time.time()), due.body)
    ids = {"X-Request-Id": due.request_id, "traceparent": due.traceparent}
    return {"Content-Type": "application/json", **signed, **{name: value for name, value in ids.items() if value}}


def _attempt(reply: Reply, latency_ms: int) -> Attempt:
    is_redirect = 300 <= reply.status <= 399
    return Attempt(
        latency_ms,
        reply.status,
        error="the receiver redirects, which is not followed" if is_redirect else None,
        excerpt=reply.excerpt.decode("utf-8", "replace").replace("\0", "\ufffd"),
        retry_after=retry_after(reply.headers.get("retry-after"), datetime.now(UTC)),
    )


def _milliseconds(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
