"""A code that signs somebody in, once, without an identity provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CodeState = Literal["good", "used", "expired"]


@dataclass(frozen=True, slots=True)
class SignInCode:
    """A code that was made: its state, and the user and role that it signs in."""

    state: CodeState
    subject: str
    role: str | None
