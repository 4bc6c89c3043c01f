"""Everything of a user in pages, section by section, for an export.

A page is one statement of one short transaction. Rows are found by key, so no page reads the earlier ones again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.store.database import Tx, fetch

# Rows and bytes of one page. A larger row is a page of its own.
PAGE_ROWS = 200
PAGE_BYTES = 1_000_000

Key = list[str]
KeyType = Literal["uuid", "timestamptz", "date", "text"]
# Before every key of its type.
_FIRST: dict[KeyType, str] = {
    "uuid": "00000000-0000-0000-0000-000000000000",
    "timestamptz": "-infinity",
    "date": "-infinity",
    "text": "",
}


@dataclass(frozen=True, slots=True)
class Exported:
    """A row of an export. ``key`` is its place in its section: the next page begins behind it."""

    key: Key
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of an export: one file of the archive, with one JSON object in each line.

    ``read`` returns the next rows of a user behind a key, in order; None: from the beginning. It returns no row only
    behind the last one. ``key`` has the types of the key's parts. ``about`` is the sentence of the README.
    """

    name: str
    about: str
    key: tuple[KeyType, ...]
    read: Callable[[Tx, str, Key | None], list[Exported]]


@dataclass(frozen=True, slots=True)
class Source:
    """The rows of a section: ``columns`` of ``tables``, of which the first is called ``t`` and has a ``user_id``.

    ``size`` is an expression for the bytes of a row.
    """

    tables: str
    columns: str
    size: str = "100"


def section(name: str, about: str, source: Source, key: Mapping[str, KeyType]) -> Section:
    """A section of the rows of tables. ``key``: the columns of ``t`` that order the rows, with their types."""
    names, inner = ", ".join(key), ", ".join(f"t.{column}" for column in key)
    after = ", ".join(f"CAST(:after_{n} AS {kind})" for n, kind in enumerate(key.values()))
    sql = f"""SELECT * FROM (
            SELECT found.*, sum(bytes_) OVER (ORDER BY {names}) AS total_ FROM (
                SELECT {source.size} AS bytes_, {source.columns} FROM {source.tables}
                WHERE t.user_id = :user_id AND ({inner}) > ({after}) ORDER BY {inner} LIMIT :rows
            ) found
        ) sized WHERE total_ - bytes_ < :bytes ORDER BY {names}"""

    def read(tx: Tx, user_id: str, behind: Key | None) -> list[Exported]:
        first = [_FIRST[kind] for kind in key.values()]
        places = {f"after_{n}": value for n, value in enumerate(behind or first)}
        found = fetch(tx, sql, user_id=user_id, rows=PAGE_ROWS, bytes=PAGE_BYTES, **places)
        return [_exported(dict(row._mapping), list(key)) for row in found]

    return Section(name, about, tuple(key.values()), read)


def _exported(row: dict[str, Any], key: list[str]) -> Exported:
    del row["bytes_"], row["total_"]
    return Exported([_text(row[column]) for column in key], row)


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _account(tx: Tx, user_id: str, behind: Key | None) -> list[Exported]:
    if behind is not None:
        return []
    rows = fetch(tx, "SELECT id, subject, created_at FROM users t WHERE t.id = :user_id", user_id=user_id)
    return [Exported([row.id], dict(row._mapping)) for row in rows]


_TEXTS = "octet_length(t.content) + octet_length(t.reasoning)"
_JSON = " + coalesce(octet_length(CAST({} AS text)), 0)"

_COUNTS = "t.currency, t.generations, t.input_tokens, t.output_tokens, t.cached_tokens, t.cost"

# The section with the rows of files, whose bytes an export has beside them.
FILES = "files"
# In the order of the archive. A room that keeps data of users adds its section here.
SECTIONS: tuple[Section, ...] = (
    Section("account", "Your account.", ("uuid",), _account),
    section(
        "conversations",
        "Your conversations, also those that no list shows, such as those of chat completions (listed: false).",
        Source(
            "conversations t",
            """t.id, t.title, t.model, t.metadata, t.listed, t.import_key, t.archived_at, t.created_at,
               t.last_message_at, t.last_updated, t.pinned, t.tags, t.temporary, t.system_prompt, t.parameters""",
            "2000 + coalesce(octet_length(t.system_prompt), 0)",
        ),
        {"id": "uuid"},
    ),
    section(
        "preferences",
        "Your choices for the page and for your conversations.",
        Source("preferences t", "t.chosen, t.last_updated", "10000"),
        {"last_updated": "timestamptz"},
    ),
    section(
        "messages",
        "Your messages and the answers, of every branch: parent_id is the message before. items: a message that is"
        " more than text, as in OpenAI's Responses API.",
        Source(
            "messages t",
            """t.id, t.conversation_id, t.parent_id, t.seq, t.role, t.status, t.content, t.reasoning, t.tools,
               t.items, t.model, t.client_msg_id, t.usage, t.metadata, t.feedback, t.created_at, t.last_updated""",
            _TEXTS + _JSON.format("t.tools") + _JSON.format("t.items"),
        ),
        {"created_at": "timestamptz", "id": "uuid"},
    ),
    section(
        "shares",
        "Conversations that you share, with the copy that everybody can read who has the address.",
        Source("shares t", "t.conversation_id, t.title, t.messages, t.created_at", "500" + _JSON.format("t.messages")),
        {"conversation_id": "uuid"},
    ),
    section(
        "generations",
        "The generation of each answer, with its request. response_request: the request of the Responses API.",
        Source(
            "generations t LEFT JOIN responses r ON r.generation_id = t.id",
            """t.id, t.conversation_id, t.message_id, t.user_message_id, t.model, t.status, t.parameters, t.metadata,
               t.idempotency_key, t.key_id, t.finish_reason, t.error, t.usage, t.cost, t.currency, t.sha256,
               t.created_at, t.started_at, t.finished_at, t.webhook_url, r.request AS response_request,
               r.deleted_at AS response_deleted_at""",
            "500" + _JSON.format("t.parameters") + _JSON.format("t.error") + _JSON.format("r.request"),
        ),
        {"created_at": "timestamptz", "id": "uuid"},
    ),
    section(
        FILES,
        "Your files. The contents of those with the status ready are in the folder files/.",
        Source(
            "files t",
            """t.id, t.filename, t.purpose, t.media_type, t.bytes, encode(t.sha256, 'hex') AS sha256, t.width, t.height,
               t.status, t.is_attachment, t.created_at, t.used_at, t.expires_at""",
            "500",
        ),
        {"id": "text"},
    ),
    section(
        "uploads",
        "Your uploads in parts, without their contents, until an hour after they expire.",
        Source(
            "uploads t",
            """t.id, t.filename, t.purpose, t.declared, t.bytes, t.is_attachment, t.file_seconds, t.status, t.file_id,
               t.created_at, t.expires_at""",
            "800",
        ),
        {"id": "text"},
    ),
    section(
        "reserved_conversations",
        "Conversations that were created on /v1 and have no message yet.",
        Source("reserved_conversations t", "t.id, t.metadata, t.created_at", "500" + _JSON.format("t.metadata")),
        {"id": "uuid"},
    ),
    section(
        "chats",
        "The ids that clients of the AI SDK chose for their chats.",
        Source("client_chats t", "t.chat_id, t.conversation_id, t.created_at"),
        {"chat_id": "text"},
    ),
    section(
        "usage",
        "Tokens and cost by day (UTC) and model.",
        Source("usage_days t", f"t.day, t.model, {_COUNTS}"),
        {"day": "date", "model": "text", "currency": "text"},
    ),
    section(
        "usage_by_key",
        "The part of your usage that your API keys asked for, by day (UTC), key and model.",
        Source("key_usage_days t", f"t.day, t.key_id, t.model, {_COUNTS}"),
        {"day": "date", "key_id": "text", "model": "text", "currency": "text"},
    ),
    section(
        "budgets",
        "The limits that an administrator has set for you.",
        Source("budgets t", "t.limits, t.last_updated"),
        {"last_updated": "timestamptz"},
    ),
    section(
        "audit",
        "Actions on your access and your objects that were recorded, with their origin.",
        Source("audit t", "t.id, t.at, t.action, t.object_kind, t.object_id, t.details, t.credential_kind, t.address"),
        {"id": "uuid"},
    ),
    section(
        "identities",
        "You as an identity provider knows you.",
        Source("identities t", "t.issuer, t.subject, t.email, t.name, t.created_at, t.signed_in_at"),
        {"issuer": "text"},
    ),
    section(
        "sessions",
        "Browsers in which you are signed in.",
        Source("sessions t", "t.id, t.method, t.role, t.email, t.user_agent, t.address, t.created_at, t.seen_at"),
        {"id": "uuid"},
    ),
    section(
        "api_keys",
        "Your API keys, without their secrets.",
        Source(
            "api_keys t",
            """t.id, t.name, t.hint, t.role, t.scopes, t.models, t.limits, t.created_at, t.expires_at, t.last_used_at,
               t.ended_at""",
        ),
        {"id": "uuid"},
    ),
    section(
        "webhook_endpoints",
        "Your webhook endpoints, without their secrets.",
        Source(
            "webhook_endpoints t",
            "t.id, t.name, t.url, t.event_types, t.created_at, t.updated_at, t.disabled_at, t.disabled_reason",
            "1000",
        ),
        {"id": "uuid"},
    ),
    section(
        "webhook_deliveries",
        "Events that were sent, or are to be sent, to your webhook endpoints and to the webhook_url of your requests.",
        Source(
            "webhook_deliveries t",
            """t.id, t.endpoint_id, t.url, t.event_id, t.event_type, convert_from(t.body, 'UTF8') AS body,
               t.generation_id, t.is_test, t.state, t.reason, t.attempts, t.created_at, t.finished_at""",
            "500 + octet_length(t.body)",
        ),
        {"id": "uuid"},
    ),
    section(
        "webhook_attempts",
        "The attempts to send each of these events, with the first bytes of the receiver's answer.",
        Source(
            "webhook_attempts t",
            "t.delivery_id, t.n, t.at, t.status, t.latency_ms, t.error, t.excerpt",
            "200 + octet_length(t.excerpt)",
        ),
        {"delivery_id": "uuid", "at": "timestamptz"},
    ),
)
