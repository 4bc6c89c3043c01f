"""Builds everything from settings. Called after the fork: no connection may be shared by two processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.config import Settings
from app.eventlog.bell import Bell
from app.eventlog.log import RedisLog
from app.queue import Queue
from app.services.accounting import Accounting
from app.services.accounts import Accounts
from app.services.catalogue import Catalogue
from app.services.chats import Chats
from app.services.configuring import Configurator
from app.services.conversations import Conversations
from app.services.dialogues import Dialogues
from app.services.feeds import Feeds
from app.services.finishing import Finisher
from app.services.generations import Generations
from app.services.history import History
from app.services.operating import Operator
from app.services.reading import LogReader
from app.services.responses import Responses
from app.services.searching import Searcher
from app.services.starting import Starter
from app.services.takeover import Takeover
from app.services.tickets import Tickets
from app.services.titles import Titles
from app.services.transfer import Transfer
from app.store.database import Database
from app.upstream import Upstream

# Whether the other side is still there, which at a path of this machine is never in doubt.
_ALIVE: dict[str, Any] = {"socket_keepalive": True, "health_check_interval": 10}


@dataclass(frozen=True, slots=True)
class Resources:
    """What both the web and the worker process work with."""

    settings: Settings
    database: Database
    redis: redis.Redis
    log: RedisLog
    queue: Queue
    catalogue: Catalogue
    accounts: Accounts
    history: History
    takeover: Takeover
    finisher: Finisher
    reader: LogReader
    bell: Bell
    feeds: Feeds
    starter: Starter
    generations: Generations
    conversations: Conversations
    dialogues: Dialogues
    responses: Responses
    chats: Chats
    searcher: Searcher
    transfer: Transfer
    accounting: Accounting
    configurator: Configurator
    tickets: Tickets
    titles: Titles
    operator: Operator

    def close(self) -> None:
        """Close every connection."""
        self.queue.close()
        self.bell.close()
        self.database.close()
        self.redis.close()


def build(settings: Settings) -> Resources:
    """Everything, wired. Connects to nothing yet."""
    client = redis_client(settings.redis_url)
    bell = Bell(client, settings.redis_namespace)
    database = Database(settings.database_url, settings.database_pool, bell.ring)
    log = RedisLog(client, settings.redis_namespace)
    queue = Queue(settings.broker_url, settings.redis_namespace)
    catalogue = Catalogue(database, _upstream(settings), settings.default_model)
    history = History(database, client, settings.redis_namespace)
    takeover = Takeover(database, log)
    finisher = Finisher(database, history, queue.run_generation)
    generations = Generations(database, takeover, finisher, log, settings.lease_seconds)
    conversations = Conversations(database, generations, catalogue)
    reader = LogReader(database, log)
    starter = Starter(
        database,
        queue,
        catalogue,
        history,
        generations.finish_cancel,
        settings.max_queued,
        settings.token_quota_per_day,
    )
    return Resources(
        settings=settings,
        database=database,
        redis=client,
        log=log,
        queue=queue,
        catalogue=catalogue,
        accounts=Accounts(database),
        history=history,
        takeover=takeover,
        finisher=finisher,
        reader=reader,
        bell=bell,
        feeds=Feeds(database),
        starter=starter,
        generations=generations,
        conversations=conversations,
        dialogues=Dialogues(database, conversations),
        responses=Responses(database, generations, reader),
        chats=Chats(database, generations),
        searcher=Searcher(database),
        transfer=Transfer(database),
        accounting=Accounting(database),
        configurator=Configurator(database, catalogue, settings.openai_base_url is not None),
        tickets=Tickets(database),
        titles=Titles(database, log),
        operator=Operator(database, generations, starter, settings.lease_seconds),
    )


def redis_client(url: str) -> redis.Redis:
    """A client that answers or fails within two seconds, and never repeats a command by itself."""
    alive = {} if urlsplit(url).scheme == "unix" else _ALIVE
    return redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0), **alive)


def _upstream(settings: Settings) -> Upstream | None:
    if settings.openai_base_url is None:
        return None
    key = settings.openai_api_key
    return Upstream(settings.openai_base_url, key.get_secret_value() if key else None)
