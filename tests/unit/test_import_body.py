"""The body of an import is refused as invalid, whatever JSON it is."""

from __future__ import annotations

import pytest

from app.api.import_body import ImportBody
from app.config import Settings
from app.domain.errors import MalformedInput

SETTINGS = Settings(database_url="postgresql://a:b@c/d", redis_url="redis://c", jwt_secret="x" * 32)


@pytest.mark.parametrize(
    "body", [b'["messages", [{}]]', b'["messages", []]', b'[{"messages": [{}]}]', b'"messages"', b"1"]
)
def test_a_body_that_is_no_object_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedInput, match="must be a JSON object"):
        ImportBody.read(body, SETTINGS)
