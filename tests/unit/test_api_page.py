"""The tables of docs/api.md list every request of the OpenAPI document, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.api.application import create_app
from app.config import Settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
ROW = re.compile(r"^\| `([A-Z]+) (/\S+)` \|", re.MULTILINE)


@pytest.fixture(scope="module")
def document() -> dict:
    settings = Settings(database_url="postgresql://a:b@c/d", redis_url="redis://c", jwt_secret="x" * 32)
    return create_app(settings).test_client().get("/openapi.json").json


def test_every_request_of_the_document_has_its_row(document: dict):
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    rows = ROW.findall(PAGE.read_text())
    assert sorted(rows) == sorted(described)


def test_the_fields_of_a_message_are_those_of_the_document(document: dict):
    rows = PAGE.read_text().split("The body of `POST /api/v1/generations`:")[1].split("\n## ")[0]
    fields = re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE)
    assert sorted(fields) == sorted(document["components"]["schemas"]["StartBody"]["properties"])
