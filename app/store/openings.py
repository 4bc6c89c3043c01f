"""The statements that a transaction begins with: they set its role, its user and its timeouts until it ends."""

from __future__ import annotations

from typing import Literal

Role = Literal["unbroken_app", "unbroken_operator", "unbroken_system"]

# The settings of every transaction, besides its role and its user.
_SETTINGS = {
    "statement_timeout": "5s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "10s",
    "timezone": "UTC",
    "jit": "off",
}


def opening(role: Role) -> str:
    """One statement that sets everything a transaction needs. Its parameter ``user`` is an id, or empty."""
    settings = {"role": role, **_SETTINGS}
    calls = [f"set_config('{name}', '{value}', true)" for name, value in settings.items()]
    return f"SELECT {', '.join(calls)}, set_config('app.user_id', %(user)s, true)"


AS_USER = opening("unbroken_app")
AS_OPERATOR = opening("unbroken_operator")
AS_SYSTEM = opening("unbroken_system")
# A statement of its own: until the role is set, the function may not be called. ``kind`` is generation or conversation.
AS_OWNER = "SELECT set_config('app.user_id', coalesce(CAST(owner_of_{kind}(%(object)s) AS text), ''), true)"
