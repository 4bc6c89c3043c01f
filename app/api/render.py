"""Domain objects as JSON: each in one place, so that every answer shows the same object alike."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
from flask import Response

from app.domain.commands import User
from app.domain.cursor import START, Cursor
from app.domain.events import Entry
from app.domain.models import Price
from app.services.accounting import Statement
from app.services.catalogue import Offer
from app.services.conversations import ConversationPage, ConversationStatus, MessagePage
from app.services.generations import GenerationView
from app.services.searching import Found, FoundPage
from app.services.starting import Started
from app.store.conversations import Conversation, Message
from app.store.generations import Generation, Standing
from app.store.models import Model


def answer(body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer. Times become RFC 3339 in UTC."""
    response = Response(orjson.dumps(body, option=orjson.OPT_UTC_Z), status, content_type="application/json")
    response.headers.extend(headers or {})
    return response


def generation(view: GenerationView) -> dict[str, Any]:
    """A generation with its content so far."""
    row = view.row
    return {
        "id": row.id,
        "conversation_id": row.conversation_id,
        "message_id": row.message_id,
        "user_message_id": row.user_message_id,
        "model": row.model,
        "status": row.status,
        "cursor": str(view.cursor),
        "epoch": row.epoch,
        "content": view.content,
        "reasoning": view.reasoning,
        "tools": view.tools,
        "queue_position": view.queue_position,
        "attempts": max(row.tries, len(row.attempts)),
        "attempt_log": row.attempts,
        "finish_reason": row.finish_reason,
        "error": row.error,
        "usage": row.usage,
        "cost": None if row.cost is None else {"cost": _decimal(row.cost), "currency": row.currency},
        "latency_ms": _latency(row),
        "metadata": row.metadata,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "last_updated": row.last_updated,
        "finished_at": row.finished_at,
        "sha256": row.sha256,
    }


def events(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Each event as the stream has it, with its id."""
    return [{"id": str(cursor), **orjson.loads(payload)} for cursor, payload in entries]


def started(begun: Started, view: GenerationView) -> dict[str, Any]:
    """What a sent message led to."""
    return {
        "conversation": conversation(begun.conversation),
        "message": message(begun.message),
        "generation": generation(view),
    }


def fresh(row: Generation, queue_position: int | None = None) -> GenerationView:
    """A generation nobody has begun yet."""
    return GenerationView(row, START, "", "", [], queue_position)


def opening(row: Standing, after: Cursor, *, conversation_created: bool) -> dict[str, Any]:
    """The first frame of every stream."""
    return {
        "type": "open",
        "generation_id": row.id,
        "conversation_id": row.conversation_id,
        "message_id": row.message_id,
        "user_message_id": row.user_message_id,
        "conversation_created": conversation_created,
        "status": row.status,
        "after": str(after),
    }


def conversation(found: Conversation) -> dict[str, Any]:
    """A conversation, in a list or alone."""
    return {
        "id": found.id,
        "title": found.title,
        "model": found.model,
        "preview": found.preview,
        "metadata": found.metadata,
        "archived": found.archived_at is not None,
        "archived_at": found.archived_at,
        "has_active_generation": found.has_active_generation,
        "created_at": found.created_at,
        "last_message_at": found.last_message_at,
        "last_updated": found.last_updated,
        "feed_seq": found.feed_seq,
    }


def message(said: Message) -> dict[str, Any]:
    """A message, question or answer."""
    return {
        "seq": said.seq,
        "message_id": said.id,
        "client_msg_id": said.client_msg_id,
        "conversation_id": said.conversation_id,
        "parent_id": said.parent_id,
        "role": said.role,
        "content": said.content,
        "reasoning": said.reasoning,
        "tools": said.tools,
        "status": said.status,
        "model": said.model,
        "generation_id": said.generation_id,
        "usage": said.usage,
        "metadata": said.metadata,
        "created_at": said.created_at,
        "last_updated": said.last_updated,
    }


def conversation_page(page: ConversationPage) -> dict[str, Any]:
    """A page of conversations."""
    items = [conversation(item) for item in page.items]
    return {"items": items, "next_cursor": page.next_cursor, "feed_seq": page.feed_seq}


def message_page(page: MessagePage) -> dict[str, Any]:
    """A page of messages."""
    return {"items": [message(item) for item in page.items], "next_seq": page.next_seq}


def found_page(page: FoundPage) -> dict[str, Any]:
    """A page of what was found."""
    return {"items": [_found(item) for item in page.items], "next_cursor": page.next_cursor}


def _found(found: Found) -> dict[str, Any]:
    return {
        "conversation_id": found.hit.conversation_id,
        "message_id": found.hit.message_id,
        "role": found.hit.role,
        "title": found.hit.title,
        "snippet": found.excerpt.text,
        "highlights": found.excerpt.highlights,
        "created_at": found.hit.at,
    }


def status(found: ConversationStatus) -> dict[str, Any]:
    """What somebody who polls a conversation asks for."""
    active = found.active
    return {
        "has_active_generation": active is not None,
        "generating_message_id": active.row.message_id if active else None,
        "generation_id": active.row.id if active else None,
        "status": active.row.status if active else None,
        "queue_position": active.queue_position if active else None,
        "partial_content": active.content if active else None,
        "cursor": str(active.cursor) if active else None,
        "last_updated": found.last_updated,
    }


def offers(found: Iterable[Offer]) -> dict[str, Any]:
    """The models that can be asked."""
    return {"items": [_offer(offer) for offer in found]}


def _offer(offer: Offer) -> dict[str, Any]:
    model = offer.model
    return {
        "name": model.name,
        "provider": model.provider,
        "default": offer.default,
        "label": model.label,
        "description": model.description,
        "tools": model.tools,
        "price": _price(model.price),
    }


def model(found: Model) -> dict[str, Any]:
    """A model as its administrator sees it."""
    return {
        "name": found.name,
        "provider": found.provider,
        "upstream_name": found.upstream_name,
        "label": found.label,
        "description": found.description,
        "system_prompt": found.system_prompt,
        "parameters": found.parameters,
        "on_interruption": found.on_interruption,
        "tools": found.tools,
        "price": _price(found.price),
        "enabled": found.enabled,
    }


def models(found: Iterable[Model]) -> dict[str, Any]:
    """All models, as their administrator sees them."""
    return {"items": [model(one) for one in found]}


def _price(price: Price | None) -> dict[str, str] | None:
    if price is None:
        return None
    return {"input": _decimal(price.input), "output": _decimal(price.output), "currency": price.currency}


def usage(statement: Statement) -> dict[str, Any]:
    """What was used in a period."""
    return {
        "from": statement.first,
        "to": statement.last,
        "items": [
            {
                "day": day.day,
                "model": day.model,
                "generations": day.generations,
                "input_tokens": day.input_tokens,
                "output_tokens": day.output_tokens,
                "cost": None if day.cost is None else _decimal(day.cost),
                "currency": day.currency,
            }
            for day in statement.days
        ],
        "costs": [{"cost": _decimal(cost), "currency": currency} for currency, cost in statement.costs.items()],
    }


def _decimal(number: Decimal) -> str:
    """The shortest way to write it out."""
    return f"{number:f}".rstrip("0").rstrip(".") if "." in f"{number:f}" else f"{number:f}"


def account(user: User, limits: dict[str, Any]) -> dict[str, Any]:
    """Who is asking, and what they may."""
    return {"id": user.id, "subject": user.subject, "role": user.role, "limits": limits}


def _latency(row: Generation) -> dict[str, int | None]:
    return {
        "first_token": _milliseconds(row.created_at, row.first_token_at),
        "total": _milliseconds(row.created_at, row.finished_at),
    }


def _milliseconds(begin: datetime, end: datetime | None) -> int | None:
    return None if end is None else max(0, round((end - begin).total_seconds() * 1000))
