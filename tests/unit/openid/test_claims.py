"""Roles, addresses and names are read from whatever claims a provider sends; nobody is an administrator by accident."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import SignInFailed
from app.openid import claims, id_token
from app.openid.client import Client
from app.openid.signed import Signed

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(["admins", "a.b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "a.b", "c"]), inner),
    max_leaves=5,
)
CLAIMS = st.dictionaries(
    st.sampled_from(["iss", "sub", "aud", "exp", "iat", "nonce", "azp", "at_hash", "amr", "auth_time", "email", "a",
                     "email_verified", "name", "roles", "a.b", "sid", "nbf"]), VALUES)  # fmt: skip


def client(**changes: Any) -> Client:
    return Client("https://login.example.com", "unbroken", "hunter2", "https://chat.example.com", **changes)


@pytest.mark.parametrize(
    ("given", "path", "roles"),
    [
        ({"roles": ["a", "b"]}, "roles", ["a", "b"]),
        ({"roles": "a"}, "roles", ["a"]),
        ({"roles": ["a", 7, None, ["b"]]}, "roles", ["a"]),
        ({"roles": {"a": True}}, "roles", []),
        ({}, "roles", []),
        ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", ["a"]),
        ({"resource_access": {"my.client": {"roles": ["a"]}}}, "resource_access.my.client.roles", ["a"]),
        ({"https://example.com/roles": ["a"]}, "https://example.com/roles", ["a"]),
        ({"a.b": ["whole"], "a": {"b": ["inner"]}}, "a.b", ["whole"]),
        ({"a": ["b"]}, "a.b", []),
        ({"a": None}, "a.b", []),
    ],
)
def test_roles_are_a_text_or_a_list_at_a_path(given: dict[str, Any], path: str, roles: list[str]) -> None:
    assert claims.roles(given, path) == roles


def test_only_a_named_value_makes_an_administrator() -> None:
    admins = client(admin_values=frozenset({"admins"}))
    assert claims.role({"roles": ["users", "admins"]}, admins) == "admin"
    assert claims.role({"roles": ["Admins", "admin"]}, admins) is None
    assert claims.role({"roles": ["", "admin", "admins"]}, client()) is None


def test_the_first_of_several_roles_counts() -> None:
    values = {"admin_values": {"a"}, "support_values": {"s"}, "operator_values": {"o"}}
    both = client(**{name: frozenset(found) for name, found in values.items()})
    assert claims.role({"roles": ["o", "s", "a"]}, both) == "admin"
    assert claims.role({"roles": ["o", "s"]}, both) == "support"
    assert claims.role({"roles": ["o"]}, both) == "operator"
    assert claims.role({"roles": ["support", "operator", "x"]}, both) is None


@given(CLAIMS)
def test_whatever_is_claimed_nobody_becomes_an_administrator_by_accident(given: dict[str, Any]) -> None:
    for path in ("roles", "a.b", "a.a.b"):
        role = claims.role(given, client(role_claim=path, admin_values=frozenset({"admins"})))
        assert role == ("admin" if "admins" in claims.roles(given, path) else None)
    assert claims.email(given) is None or isinstance(given["email"], str)


@given(CLAIMS)
def test_no_claims_break_the_check_of_an_id_token(given: dict[str, Any]) -> None:
    """Claims at random are refused with a reason; the check raises nothing else."""
    with pytest.raises(SignInFailed):
        id_token.check(Signed({"alg": "RS256"}, dict(given)), client(), "a nonce of twenty characters", "access")


@pytest.mark.parametrize(
    "given",
    [
        {"email": "alice@example.com"},
        {"email": "alice@EXAMPLE.com", "email_verified": True},
        {"email": "alice@example.com", "email_verified": "true"},
    ],
)
def test_an_allowed_domain_may_sign_in(given: dict[str, Any]) -> None:
    claims.check_domain(given, client(allowed_domains=frozenset({"example.com"})))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"email": None},
        {"email": 7},
        {"email": "alice"},
        {"email": "alice@example.org"},
        {"email": "alice@evil-example.com"},
        {"email": "alice@sub.example.com"},
        {"email": "alice@example.org@example.com"},
        {"email": '"alice@example.com"@example.org'},
        {"email": "alice@example.com\n"},
        {"email": "alice@example.com", "email_verified": False},
        {"email": "alice@example.com", "email_verified": "false"},
        {"email": "alice@example.com", "email_verified": None},
    ],
    ids=str,
)
def test_another_address_may_not(given: dict[str, Any]) -> None:
    with pytest.raises(SignInFailed) as caught:
        claims.check_domain(given, client(allowed_domains=frozenset({"example.com"})))
    assert "example" not in caught.value.detail
    claims.check_domain(given, client())
