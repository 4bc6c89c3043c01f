"""Builds everything from settings. Called after the fork: no connection may be shared by two processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis

from app.broker.queue import Queue
from app.config import Settings
from app.eventlog.breakers import RedisBreakers
from app.eventlog.client import redis_client
from app.eventlog.expiring_members import ExpiringMembers
from app.eventlog.feed_notifier import FeedNotifier
from app.eventlog.log import RedisLog
from app.eventlog.mailbox import Mailbox
from app.eventlog.nonces import Nonces
from app.eventlog.open_streams import OpenStreams
from app.openid.client import REMEMBERED_SECONDS
from app.services.admin import GenerationAdmin
from app.services.admission import Admission
from app.services.aisdk_chats import AISDKChats
from app.services.api_keys import ApiKeys
from app.services.attachments import Attachments
from app.services.audit import Audit
from app.services.budgets import Budgets, Defaults
from app.services.conversations import Conversations
from app.services.eraser import Eraser
from app.services.feeds import Feeds
from app.services.file_sweep import FileSweep
from app.services.files import Files
from app.services.finishing import Finisher
from app.services.for_operators import ForOperators
from app.services.for_people import ForPeople
from app.services.generation_start import GenerationStarter
from app.services.generations import Generations
from app.services.history import History
from app.services.identities import Identities
from app.services.import_export import ImportExport
from app.services.log_reader import LogReader
from app.services.model_admin import ModelAdmin
from app.services.model_catalog import ModelCatalog
from app.services.openai_conversations import OpenAIConversations
from app.services.openai_responses import OpenAIResponses
from app.services.own_data.erasing import Erasures
from app.services.own_data.exports import Exports
from app.services.own_data.holds import Holds
from app.services.own_data.retention import Retention
from app.services.own_data.services import OwnData
from app.services.revocations import READ_SECONDS, RETRY_SECONDS, Revocations
from app.services.search import MessageSearch
from app.services.service_accounts import ServiceAccounts
from app.services.sessions import Sessions
from app.services.sign_in_links import SignInLinks
from app.services.slots import Slots
from app.services.takeover import Takeover
from app.services.tickets import Tickets
from app.services.titles import Titles
from app.services.uploads import Uploads
from app.services.upstream_models import UpstreamLists
from app.services.upstream_status import UpstreamStatuses
from app.services.usage import UsageReports
from app.services.user_admin import UserAdmin
from app.services.users import Users
from app.services.waits import Waits
from app.services.webhook_deliveries import WebhookDeliveries
from app.services.webhook_room import WebhookRoom
from app.services.webhook_watch import WebhookWatch
from app.services.webhooks import Webhooks
from app.services.worker_admin import WorkerAdmin
from app.store.database import Database

if TYPE_CHECKING:
    from app.openid.identity_provider import IdentityProvider


@dataclass(frozen=True, slots=True)
class Resources:
    """The stores and services that web and worker processes share."""

    settings: Settings
    database: Database
    redis: redis.Redis
    log: RedisLog
    breakers: RedisBreakers
    queue: Queue
    mailbox: Mailbox
    slots: Slots
    model_catalog: ModelCatalog
    revocations: Revocations
    users: Users
    api_keys: ApiKeys
    sessions: Sessions
    sign_in_links: SignInLinks
    history: History
    eraser: Eraser
    takeover: Takeover
    finisher: Finisher
    reader: LogReader
    feed_notifier: FeedNotifier
    feeds: Feeds
    starter: GenerationStarter
    generations: Generations
    conversations: Conversations
    openai_conversations: OpenAIConversations
    openai_responses: OpenAIResponses
    aisdk_chats: AISDKChats
    import_export: ImportExport
    files: Files
    file_sweep: FileSweep
    own_data: OwnData
    budgets: Budgets
    model_admin: ModelAdmin
    tickets: Tickets
    titles: Titles
    admin: GenerationAdmin
    upstream_statuses: UpstreamStatuses
    open_streams: OpenStreams
    audit: Audit
    identities: Identities
    # None where people sign in without an identity provider, and in workers.
    identity_provider: IdentityProvider | None
    logout_tokens: Nonces

    @property
    def search(self) -> MessageSearch:
        """Searches in a user's messages."""
        return MessageSearch(self.database)

    @property
    def usage(self) -> UsageReports:
        """The usage of users."""
        return UsageReports(self.database)

    @property
    def service_accounts(self) -> ServiceAccounts:
        """The users of programs."""
        return ServiceAccounts(self.database, self.api_keys)

    @property
    def user_admin(self) -> UserAdmin:
        """Users, for operators."""
        return UserAdmin(self.database)

    @property
    def for_people(self) -> ForPeople:
        """The services that the page of users needs beside the conversations themselves."""
        return ForPeople(self.database, self.model_catalog, self.import_export, *self.settings.share_bounds)

    @property
    def webhooks(self) -> Webhooks:
        """Webhook endpoints of users, and the secrets that sign."""
        return Webhooks(self.database, self.settings.egress_rules, self.settings.max_webhook_endpoints_per_user)

    @property
    def webhook_deliveries(self) -> WebhookDeliveries:
        """Deliveries to webhooks."""
        settings = self.settings
        return WebhookDeliveries(self.database, settings.max_webhooks_waiting_per_user, settings.webhook_days)

    @property
    def for_operators(self) -> ForOperators:
        """The views of operators: the service, its minutes, texts."""
        of, settings = self, self.settings
        figures = (of.open_streams.total, settings.worker_lost_seconds, settings.ops_series_days)
        return ForOperators(of.database, of.upstream_statuses, *figures)

    @property
    def uploads(self) -> Uploads:
        """Uploads in parts."""
        return Uploads(self.database, self.files, self.settings.upload_limits, self.settings.max_file_bytes)

    @property
    def worker_admin(self) -> WorkerAdmin:
        """Workers, for operators."""
        return WorkerAdmin(self.database.operator, self.settings.worker_lost_seconds)

    @property
    def webhook_watch(self) -> WebhookWatch:
        """Deliveries to webhooks of all users, for operators."""
        return WebhookWatch(self.database, self.webhook_deliveries)

    def close(self) -> None:
        """Close every connection."""
        if self.identity_provider is not None:
            self.identity_provider.close()
        self.queue.close()
        self.feed_notifier.close()
        self.revocations.close()
        self.database.close()
        self.redis.close()


def build(settings: Settings) -> Resources:
    """Everything, wired. Connects to nothing yet."""
    client, feed_notifier, database, log, queue = _stores(settings)
    revocations = Revocations(Database(settings.database_url, 1, timeout=READ_SECONDS, retry=RETRY_SECONDS))
    breakers = RedisBreakers(client, settings.redis_namespace, settings.breaker_rules)
    catalogue = ModelCatalog(database, UpstreamLists(database, settings.upstream_names), settings.default_model)
    history, admission = History(database, client, settings.redis_namespace), _admission(settings, database)
    eraser, reader = Eraser(database, log, history), LogReader(database, log)
    takeover, room = Takeover(database, log), WebhookRoom(settings.max_webhooks_waiting_per_user)
    slots = Slots(database, settings.max_running_per_user, settings.worker_concurrency, settings.worker_lost_seconds)
    finisher = Finisher(database, history, queue.run_generation, slots.most_per_user, room)
    waits = Waits(slots.most_per_user, settings.lease_seconds, settings.heartbeat_seconds)
    generations = Generations(database, takeover, finisher, log, queue.run_generation, waits)
    conversations = Conversations(database, generations, catalogue, eraser.erase_now)
    files, file_sweep, attached = _files(settings, database)
    starter = GenerationStarter(database, queue, catalogue, history, generations.finish_or_leave, admission, attached)
    return Resources(
        settings=settings,
        database=database,
        redis=client,
        log=log,
        breakers=breakers,
        queue=queue,
        mailbox=Mailbox(client, settings.redis_namespace),
        slots=slots,
        model_catalog=catalogue,
        revocations=revocations,
        users=Users(database, revocations),
        api_keys=ApiKeys(database, settings.max_api_keys_per_user),
        sessions=(sessions := Sessions(database, settings.session_rules)),
        sign_in_links=SignInLinks(database, sessions),
        history=history,
        eraser=eraser,
        takeover=takeover,
        finisher=finisher,
        reader=reader,
        feed_notifier=feed_notifier,
        feeds=Feeds(database),
        starter=starter,
        generations=generations,
        conversations=conversations,
        openai_conversations=OpenAIConversations(database, conversations, attached),
        openai_responses=OpenAIResponses(database, generations, reader, eraser.erase_now),
        aisdk_chats=AISDKChats(database, generations),
        import_export=ImportExport(database, attached),
        files=files,
        file_sweep=file_sweep,
        own_data=_own_data(settings, database, client, generations),
        budgets=admission.budgets,
        model_admin=ModelAdmin(database, settings.upstream_names),
        tickets=Tickets(database),
        titles=Titles(database, log),
        admin=GenerationAdmin(database, generations, starter, settings.lease_seconds),
        upstream_statuses=UpstreamStatuses(database, breakers, settings.upstream_names),
        open_streams=OpenStreams(client, settings.redis_namespace),
        audit=Audit(database, settings.audit_days),
        identities=Identities(database),
        identity_provider=_identity_provider(settings),
        logout_tokens=Nonces(client, settings.redis_namespace, REMEMBERED_SECONDS),
    )


def _files(settings: Settings, database: Database) -> tuple[Files, FileSweep, Attachments]:
    files = Files(database, storage := settings.file_storage, settings.file_limits)
    sweep = FileSweep(database, storage, settings.unused_file_seconds, settings.retention_days)
    return files, sweep, Attachments(files, settings.max_prompt_file_bytes)


def _own_data(settings: Settings, database: Database, client: redis.Redis, generations: Generations) -> OwnData:
    running = ExpiringMembers.of_exports(client, settings.redis_namespace)
    return OwnData(
        exports=Exports(database, settings.file_storage, running, *settings.export_bounds),
        erasures=Erasures(database, generations, client, settings.redis_namespace),
        retention=Retention(database, settings.retention_days, settings.temporary_chat_seconds),
        holds=Holds(database),
    )


def _identity_provider(settings: Settings) -> IdentityProvider | None:
    """The identity provider of the settings. It is reached at the first sign-in."""
    if settings.oidc_client_secret is None:
        return None
    # The client of HTTP takes 14 MB of memory and 0.4 s.
    from app.openid.identity_provider import IdentityProvider
    from app.openid.transport import Transport

    return IdentityProvider(settings.oidc_client, Transport())


def _admission(settings: Settings, database: Database) -> Admission:
    budgets = Budgets(database, Defaults(*settings.default_budget))
    return Admission(settings.max_queued, settings.max_queued_per_user, budgets)


def _stores(settings: Settings) -> tuple[redis.Redis, FeedNotifier, Database, RedisLog, Queue]:
    client = redis_client(settings.redis_url)
    feed_notifier = FeedNotifier(client, settings.redis_namespace)
    database = Database(
        settings.database_url, settings.database_pool, feed_notifier.notify, settings.database_timeout_seconds
    )
    log = RedisLog(client, settings.redis_namespace)
    queue = Queue(settings.broker_url, settings.redis_namespace, settings.broker_queue_type)
    return client, feed_notifier, database, log, queue
