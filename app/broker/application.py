"""The Celery application for a broker. Deployments that share a broker are kept apart by their namespace."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from celery import Celery
from redis.connection import parse_url

import celeryconfig

RUN_GENERATION = "unbroken.run_generation"
RUN_EMBEDDINGS = "unbroken.run_embeddings"

# The queue of this namespace keeps the name of earlier releases, so that an update finds the messages in it.
FIRST_NAMESPACE = "unbroken"


# RabbitMQ keeps an exclusive queue for a dead connection until it misses its heartbeats, minutes after a host lost its
# power. Until then a worker that starts again under the same name would be refused (405), and take no task.
# RabbitMQ 4.3 refuses a queue that is neither exclusive nor durable. Unused, this one is removed after ten seconds.
# On Redis a durable queue would leave its binding behind when its worker leaves.
_CONTROL_QUEUE = {"control_queue_exclusive": False, "control_queue_durable": True}


def producer(broker_url: str, namespace: str) -> Celery:
    """A Celery application with the policy of ``celeryconfig``, for the queue of one namespace.

    On Redis the namespace is a prefix of every key. On another broker it is a part of the names of the queue and of the
    exchanges for tasks, remote control and events.
    """
    celery = Celery("unbroken", broker=_address(broker_url), set_as_current=False)
    celery.config_from_object(celeryconfig)
    if broker_url.startswith(("redis", "unix")):
        options = {**celeryconfig.broker_transport_options, "global_keyprefix": f"{namespace}:"}
        celery.conf.broker_transport_options = options
    else:
        celery.conf.broker_transport_options = {}
        celery.conf.update(_CONTROL_QUEUE)
        if namespace != FIRST_NAMESPACE:
            celery.conf.update(_names(namespace))
    return celery


def _names(namespace: str) -> dict[str, str]:
    """The names of a deployment's queue and exchanges on a broker that has no key prefix."""
    return {
        "task_default_queue": f"{namespace}.{celeryconfig.task_default_queue}",
        "task_default_exchange": f"{namespace}.{celeryconfig.task_default_queue}",
        "task_default_routing_key": f"{namespace}.{celeryconfig.task_default_queue}",
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
