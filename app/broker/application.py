"""The Celery application for a broker. Deployments that share a broker are kept apart by their namespace."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import quote, urlsplit

from celery import Celery
from celery.app.control import Control
from kombu.pidbox import Mailbox
from redis.connection import parse_url

import celeryconfig

RUN_GENERATION = "unbroken.run_generation"
RUN_EMBEDDINGS = "unbroken.run_embeddings"

QueueType = Literal["classic", "quorum"]
CLASSIC: QueueType = "classic"
QUORUM: QueueType = "quorum"

# The queue of this namespace keeps the name of earlier releases, so that an update finds the messages in it.
FIRST_NAMESPACE = "unbroken"


# RabbitMQ keeps an exclusive queue for a dead connection until it misses its heartbeats, minutes after a host lost its
# power. Until then a worker that starts again under the same name would be refused (405), and take no task.
# RabbitMQ 4.3 refuses a queue that is neither exclusive nor durable. Unused, this one is removed after ten seconds.
# On Redis a durable queue would leave its binding behind when its worker leaves.
_CONTROL_QUEUE = {"control_queue_exclusive": False, "control_queue_durable": True}


class _QuorumMailbox(Mailbox):
    """Remote control for a cluster. A worker that has lost its node connects to another one under its own name.

    A classic control queue would lie on the lost node, and refuse (404) to be declared until the node is back.
    """

    def get_queue(self, hostname: str) -> Any:
        """The control queue of a worker."""
        queue = super().get_queue(hostname)  # type: ignore[no-untyped-call]
        queue.queue_arguments = {"x-queue-type": QUORUM}
        return queue


class _QuorumControl(Control):  # type: ignore[misc]  # Celery has no types
    Mailbox = _QuorumMailbox


def producer(broker_url: str, namespace: str, queue_type: QueueType = CLASSIC) -> Celery:
    """A Celery application with the policy of ``celeryconfig``, for the queue of one namespace.

    On Redis the namespace is a prefix of every key. On another broker it is a part of the names of the queue and of the
    exchanges for tasks, remote control and events. ``queue_type`` is RabbitMQ's.
    """
    remote = _QuorumControl if queue_type == QUORUM else None
    celery = Celery("unbroken", broker=_address(broker_url), control=remote, set_as_current=False)
    celery.config_from_object(celeryconfig)
    if broker_url.startswith(("redis", "unix")):
        options = {**celeryconfig.broker_transport_options, "global_keyprefix": f"{namespace}:"}
        celery.conf.broker_transport_options = options
    else:
        celery.conf.broker_transport_options = {}
        celery.conf.update(_CONTROL_QUEUE)
        celery.conf.update(_task_queue(namespace, queue_type))
        if namespace != FIRST_NAMESPACE:
            celery.conf.update(_exchanges(namespace))
    return celery


def _task_queue(namespace: str, queue_type: QueueType) -> dict[str, str]:
    """The name and the type of a deployment's queue. Celery gives its exchange and its routing key the same name.

    RabbitMQ refuses to declare a queue whose type differs (406), so each type has a queue of its own.
    """
    name = celeryconfig.task_default_queue
    if namespace != FIRST_NAMESPACE:
        name = f"{namespace}.{name}"
    if queue_type == QUORUM:
        name = f"{name}.{QUORUM}"
    return {"task_default_queue": name, "task_default_queue_type": queue_type}


def _exchanges(namespace: str) -> dict[str, str]:
    """The names of a deployment's exchanges for remote control and events on a broker that has no key prefix."""
    return {
        "control_exchange": f"{namespace}.celery.pidbox",
        "event_exchange": f"{namespace}.celeryev",
        "event_queue_prefix": f"{namespace}.celeryev",
    }


def _address(broker_url: str) -> str:
    """The address in Celery's form.

    Celery has a scheme of its own for Unix sockets. With ``rediss`` it checks no certificate unless the address asks
    for it.
    """
    parts = urlsplit(broker_url)
    if parts.scheme == "unix":
        where = parse_url(broker_url)
        secret = f"{quote(where.get('username', ''), '')}:{quote(where.get('password', ''), '')}"
        return f"redis+socket://{secret}@{where['path']}?virtual_host={where.get('db', 0)}"
    if parts.scheme == "rediss" and "ssl_cert_reqs=" not in parts.query:
        return parts._replace(query="&".join(filter(None, (parts.query, "ssl_cert_reqs=required")))).geturl()
    return broker_url
