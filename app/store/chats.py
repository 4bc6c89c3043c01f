"""Conversations by the ids their clients chose, and messages by the names their clients gave them."""

from __future__ import annotations

from app.store import generations, messages
from app.store.database import Tx, execute, fetch_one, mine
from app.store.generations import Generation
from app.store.messages import Message


def claim(tx: Tx, user_id: str, chat_id: str, conversation_id: str) -> str:
    """The conversation of a chat: the one it has, else ``conversation_id`` from now on. Waits for who is quicker."""
    row = fetch_one(
        tx,
        """INSERT INTO client_chats (user_id, chat_id, conversation_id) VALUES (:user_id, :chat_id, :conversation_id)
           ON CONFLICT (user_id, chat_id) DO UPDATE SET chat_id = EXCLUDED.chat_id RETURNING conversation_id""",
        user_id=user_id,
        chat_id=chat_id,
        conversation_id=conversation_id,
    )
    assert row is not None, "inserted or updated"
    return str(row.conversation_id)


def find(tx: Tx, chat_id: str) -> str | None:
    """The conversation of the user's chat; None for an unknown one."""
    row = fetch_one(
        tx, f"SELECT conversation_id FROM client_chats WHERE chat_id = :chat_id AND {mine()}", chat_id=chat_id
    )
    return row.conversation_id if row else None


def promise(tx: Tx, user_id: str, conversation_id: str) -> None:
    """Reserve the conversation that ``claim`` named in this transaction, unless it is reserved or exists.

    A reservation that is there is young again: the transaction of the first message finds it.
    """
    # Waits for a transaction that is creating the chat: the next statement sees its result.
    sql = f"UPDATE reserved_conversations SET created_at = now() WHERE id = :id AND {mine()} RETURNING id"
    if fetch_one(tx, sql, id=conversation_id) is None:
        execute(
            tx,
            f"""INSERT INTO reserved_conversations (id, user_id)
               SELECT :id, :user_id WHERE NOT EXISTS (SELECT FROM conversations WHERE id = :id AND {mine()})""",
            id=conversation_id,
            user_id=user_id,
        )


def message_named(tx: Tx, conversation_id: str, name: str) -> Message | None:
    """The newest message of a conversation whose client id, or own id, is ``name``."""
    row = fetch_one(
        tx,
        f"""SELECT id FROM messages WHERE conversation_id = :conversation_id AND {mine()}
             AND (client_msg_id = :name OR CAST(id AS text) = lower(:name)) ORDER BY seq DESC LIMIT 1""",
        conversation_id=conversation_id,
        name=name,
    )
    return messages.get(tx, row.id) if row else None


def caller_of(tx: Tx, conversation_id: str, call_id: str) -> Message | None:
    """The newest answer that made this tool call."""
    row = fetch_one(
        tx,
        f"""SELECT id FROM messages WHERE conversation_id = :conversation_id AND {mine()} AND role = 'assistant'
             AND tools @> jsonb_build_array(jsonb_build_object('call_id', CAST(:call_id AS text)))
           ORDER BY seq DESC LIMIT 1""",
        conversation_id=conversation_id,
        call_id=call_id,
    )
    return messages.get(tx, row.id) if row else None


def newest_answer(tx: Tx, conversation_id: str, to: str | None = None) -> Generation | None:
    """The newest generation of a conversation, or of those that answer the message ``to``."""
    row = fetch_one(
        tx,
        f"""SELECT id FROM generations WHERE conversation_id = :conversation_id AND {mine()}
              {"AND user_message_id = :to" if to else ""} ORDER BY seq DESC LIMIT 1""",
        conversation_id=conversation_id,
        **({"to": to} if to else {}),
    )
    return generations.get(tx, row.id) if row else None


def seconds_since_end(tx: Tx, generation_id: str) -> float | None:
    """Seconds since the end of a generation, by the database's clock; None while it is live."""
    row = fetch_one(
        tx,
        f"""SELECT CAST(extract(epoch FROM now() - finished_at) AS float8) AS age FROM generations
            WHERE id = :id AND {mine()}""",
        id=generation_id,
    )
    return row.age if row else None
