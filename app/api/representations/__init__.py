"""The JSON of the native protocol: each resource in one module, as a model and the function that makes its JSON.

A model describes the JSON for the OpenAPI document. Its ``of`` makes the JSON from a row or a result of a service, as a
dict for orjson. A test compares the two; no model is instantiated when a request is served.
"""

from __future__ import annotations

from pydantic import BaseModel

from app.api.representations.account import Account, StreamTicket
from app.api.representations.admin import GenerationText, WatchedGeneration, WatchedLife, WatchedPage
from app.api.representations.api_keys import ApiKey, ApiKeyPage, NewApiKey
from app.api.representations.audit import AuditedAction, AuditPage
from app.api.representations.budgets import UserBudget
from app.api.representations.conversation import (
    Conversation,
    ConversationPage,
    ConversationStatus,
    ExportedConversation,
)
from app.api.representations.files import FileObject, FilePage
from app.api.representations.generation import Generation, PolledGeneration, Started
from app.api.representations.imports import Imported, ImportSummary
from app.api.representations.message import Message, MessagePage
from app.api.representations.models import ModelConfiguration, ModelConfigurations, ModelList
from app.api.representations.overview import Overview, Series, WatchedQueues
from app.api.representations.own_data import Erasure, Hold
from app.api.representations.preferences import Preferences
from app.api.representations.problem import Problem
from app.api.representations.search import SearchPage
from app.api.representations.service_accounts import ServiceAccount, ServiceAccountPage
from app.api.representations.sessions import SessionList
from app.api.representations.shares import NewShare, Share, ShareList
from app.api.representations.uploads import UploadObject, UploadPart
from app.api.representations.upstreams import WatchedUpstreams
from app.api.representations.usage import Usage
from app.api.representations.users import UserReport, WatchedUser, WatchedUserPage
from app.api.representations.webhooks import (
    ReplayedDeliveries,
    WatchedDelivery,
    WatchedDeliveryPage,
    WebhookDelivery,
    WebhookDeliveryPage,
    WebhookSecret,
)
from app.api.representations.workers import WatchedWorker, WatchedWorkers

# In the order of the OpenAPI document.
ALL: tuple[type[BaseModel], ...] = (
    Problem,
    PolledGeneration,
    Generation,
    Conversation,
    Message,
    Started,
    ConversationPage,
    MessagePage,
    FileObject,
    FilePage,
    UploadObject,
    UploadPart,
    SearchPage,
    ExportedConversation,
    ImportSummary,
    Imported,
    ConversationStatus,
    Share,
    NewShare,
    ShareList,
    ModelList,
    ModelConfiguration,
    ModelConfigurations,
    Usage,
    Account,
    Preferences,
    StreamTicket,
    Erasure,
    Hold,
    ApiKey,
    NewApiKey,
    ApiKeyPage,
    ServiceAccount,
    ServiceAccountPage,
    WatchedUser,
    UserReport,
    UserBudget,
    WatchedUserPage,
    WatchedWorker,
    WatchedWorkers,
    SessionList,
    WebhookSecret,
    WebhookDelivery,
    WebhookDeliveryPage,
    ReplayedDeliveries,
    WatchedDelivery,
    WatchedDeliveryPage,
    WatchedGeneration,
    WatchedPage,
    WatchedLife,
    GenerationText,
    Overview,
    Series,
    WatchedQueues,
    WatchedUpstreams,
    AuditedAction,
    AuditPage,
)
