"""Functions that see the rows of all users: owned by unbroken_definer, with a closed search path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

# The schema of temporary objects comes last: an object there cannot take the place of one of the service.
SEARCH_PATH = "pg_catalog, public, pg_temp"


def create_definers(functions: Mapping[str, str], *roles: str) -> Iterator[str]:
    """The statements that create SECURITY DEFINER functions which only ``roles`` may call.

    A key is a function's signature, such as ``queue_length(wanted uuid)``; its value is the rest of CREATE FUNCTION.
    """
    yield "GRANT CREATE ON SCHEMA public TO unbroken_definer"
    for signature, rest in functions.items():
        name = _name(signature)
        yield f"CREATE FUNCTION {signature} {rest}"
        yield f"ALTER FUNCTION {name} SECURITY DEFINER SET search_path = {SEARCH_PATH}"
        yield f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC; GRANT EXECUTE ON FUNCTION {name} TO {', '.join(roles)}"
        yield f"ALTER FUNCTION {name} OWNER TO unbroken_definer"
    yield "REVOKE CREATE ON SCHEMA public FROM unbroken_definer"


def drop_functions(signatures: Iterable[str]) -> Iterator[str]:
    """The statements that remove functions, by the signatures with which they were created."""
    for signature in signatures:
        yield f"DROP FUNCTION {_name(signature)}"


def _name(signature: str) -> str:
    """A function's name without its arguments: none of these names has a second one."""
    return signature.partition("(")[0]
