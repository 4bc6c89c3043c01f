"""Structured outputs with the parsing helpers of unmodified SDKs, against a real instance."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel, Field

from tests.clients.conftest import Site
from tests.clients.node import HERE, installed, node

pytestmark = pytest.mark.slow

ANN = {"name": "Ann", "age": 30, "mail": None, "friends": ["Bo", "Cy"]}


class Friend(BaseModel):
    name: str = Field(pattern="^[A-Z]")


class Person(BaseModel):
    """A person."""

    name: str
    age: int
    mail: str | None
    friends: list[Friend]


TEXT = json.dumps({**ANN, "friends": [{"name": "Bo"}]})


def saying(text: str, **behaviour: Any) -> str:
    """The name of a model of the upstream that says this."""
    fields = {"text": text, "rate": 0, **behaviour}
    return "fake?" + "&".join(f"{name}={openai_quoted(json.dumps(value))}" for name, value in fields.items())


def openai_quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" if chr(byte) in '&%+="{}[] #;' else chr(byte) for byte in text.encode())


@pytest.fixture
def client(site: Site) -> OpenAI:
    return OpenAI(base_url=site.base_url, api_key=site.key(), _strict_response_validation=True, max_retries=0)


def test_chat_completions_parse(client: OpenAI, site: Site) -> None:
    completion = client.chat.completions.parse(
        model=saying(TEXT), messages=[{"role": "user", "content": "Who is it?"}], response_format=Person
    )
    parsed = completion.choices[0].message.parsed
    assert parsed is not None
    assert parsed.friends == [Friend(name="Bo")]
    sent = site.upstream.calls[-1].body["response_format"]["json_schema"]
    assert (sent["name"], sent["strict"]) == ("Person", True)
    assert list(sent["schema"]["properties"]) == ["name", "age", "mail", "friends"]


def test_chat_completions_are_parsed_from_a_stream(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model=saying(TEXT), messages=[{"role": "user", "content": "Who is it?"}], response_format=Person
    ) as stream:
        parsed = stream.get_final_completion().choices[0].message.parsed
    assert parsed is not None
    assert parsed.age == 30


def test_responses_parse_and_echo_the_format(client: OpenAI) -> None:
    response = client.responses.parse(model=saying(TEXT), input="Who is it?", text_format=Person)
    assert response.output_parsed is not None
    assert response.output_parsed.name == "Ann"
    assert response.text is not None
    assert response.text.format is not None
    assert response.text.format.type == "json_schema"
    assert (response.text.format.name, response.text.format.strict) == ("Person", True)


def test_responses_are_parsed_from_a_stream(client: OpenAI) -> None:
    with client.responses.stream(model=saying(TEXT), input="Who is it?", text_format=Person) as stream:
        response = stream.get_final_response()
    assert response.output_parsed is not None
    assert response.output_parsed.name == "Ann"


def test_an_answer_that_was_wrong_twice_is_an_error(client: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.parse(
            model=saying('{"name": 7}'), messages=[{"role": "user", "content": "Who?"}], response_format=Person
        )
    assert caught.value.code == "invalid_format"
    response = client.responses.create(
        model=saying("{}"),
        input="Who?",
        text={"format": {"type": "json_schema", "name": "a", "schema": {"minProperties": 1}}},
    )
    assert response.status == "failed"
    assert response.error is not None
    assert "minProperties" in response.error.message


def test_a_text_that_was_cut_short_is_incomplete(client: OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(
            model=saying(TEXT[:9], finish="length"),
            messages=[{"role": "user", "content": "Who?"}],
            response_format=Person,
        )
    form: Any = {"format": {"type": "json_object"}}
    response = client.responses.create(model=saying(TEXT[:9], finish="length"), input="Who?", text=form)
    assert response.incomplete_details is not None
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_the_built_in_model_answers_in_the_form(client: OpenAI) -> None:
    response = client.responses.parse(model="offline-fast", input="Who is it?", text_format=Person)
    assert isinstance(response.output_parsed, Person)


def test_a_refusal_is_a_refusal_on_every_surface(client: OpenAI) -> None:
    model, said = saying("I cannot help.", refuse=True), "I cannot help."
    messages: Any = [{"role": "user", "content": "Who?"}]
    message = client.chat.completions.parse(model=model, messages=messages, response_format=Person).choices[0].message
    assert (message.parsed, message.content, message.refusal) == (None, None, said)
    with client.chat.completions.stream(model=model, messages=messages, response_format=Person) as stream:
        assert stream.get_final_completion().choices[0].message.refusal == said
    response = client.responses.parse(model=model, input="Who?", text_format=Person)
    assert response.output_parsed is None
    assert response.output[0].type == "message"
    assert [(part.type, part.refusal) for part in response.output[0].content] == [("refusal", said)]  # type: ignore
    with client.responses.stream(model=model, input="Who?", text_format=Person) as events:
        seen = [event for event in events if event.type.startswith("response.refusal")]
    assert "".join(event.delta for event in seen if event.type == "response.refusal.delta") == said
    assert seen[-1].type == "response.refusal.done"
    assert client.responses.retrieve(response.id).output == client.responses.retrieve(response.id).output


def test_a_schema_that_is_not_accepted_is_named(client: OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"$ref": "https://example.org/a"}}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="offline", messages=[{"role": "user", "content": "Who?"}], response_format=form
        )
    assert caught.value.param == "response_format.json_schema.schema"


def run(site: Site, scenario: str, model: str) -> Any:
    """The result that a scenario of node/formats.mjs prints."""
    installed()
    process = node(HERE / "formats.mjs", scenario, BASE_URL=site.base_url, API_KEY=site.key(), MODEL=model)
    try:
        output, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    return json.loads(output.splitlines()[-1])


def test_a_refusal_reaches_node(site: Site) -> None:
    seen = run(site, "refusal", saying("I cannot.", refuse=True))
    assert seen == {"content": None, "refusal": "I cannot.", "parsed": None}


@pytest.mark.parametrize("scenario", ["chat", "chatStream", "responses", "generateObject"])
def test_helpers_of_node_parse(site: Site, scenario: str) -> None:
    assert run(site, scenario, saying(json.dumps(ANN))) == ANN


def test_an_object_is_streamed_to_the_ai_sdk(site: Site) -> None:
    assert run(site, "streamObject", saying(json.dumps(ANN), rate=100)) == {"object": ANN, "parts": True}
