"""The headers that guard every response: its type is not guessed, its address not passed on, its page not framed."""

from __future__ import annotations

GUARDS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
)
