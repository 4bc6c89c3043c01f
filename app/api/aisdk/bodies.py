"""Requests of the SDK's transport as requests of the chat service. Pure.

Apps add fields of their own to the body, and newer SDKs send new kinds of parts. Unknown fields and parts are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, model_validator

from app.api import protocols
from app.api.answer_format import ResponseFormat
from app.api.errors import InvalidFields
from app.api.fields import ModelName, OnBusy
from app.api.found_files import FoundFile, by_address
from app.api.request_parsing import Text, check_prompt, not_too_long
from app.domain.commands import Said
from app.domain.message_files import FILE
from app.domain.storable import sound, storable
from app.services.aisdk_chats import ChatRequest

Id = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
# The longest history in one request; the import of conversations takes more.
MOST_MESSAGES = 1000

_NO_TEXT = "must have a part of type text or file"


class Loose(BaseModel):
    """A JSON object with at least these fields."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class UiMessage(Loose):
    """A UIMessage. Of its parts, text, files and the outputs of tools are read.

    Older versions of the SDK stored messages without an id. Only the newest message needs one.
    """

    id: Annotated[Text, StringConstraints(max_length=200)] = ""
    role: Literal["system", "user", "assistant"]
    parts: list[dict[str, Any]] = Field(max_length=MOST_MESSAGES)

    @property
    def text(self) -> str:
        """All text of the message."""
        return "".join(part["text"] for part in self.parts if part.get("type") == "text" and _is_text(part.get("text")))

    @property
    def files(self) -> list[tuple[int, dict[str, Any]]]:
        """The parts that are files, each with its number."""
        return [(n, part) for n, part in enumerate(self.parts) if part.get("type") == "file"]

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The parts that are tool calls, typed and dynamic."""
        return [part for part in self.parts if _is_tool(part.get("type")) and _is_text(part.get("toolCallId"))]


class UiChatBody(Loose):
    """Either the whole history in `messages`, or only the last message in `message`."""

    @model_validator(mode="before")
    @classmethod
    def _is_of_the_sdk(cls, value: Any) -> Any:
        if protocols.is_ollama_chat(value):
            raise ValueError(protocols.OLLAMA)
        return value

    id: Id = Field(description="The id of the chat: chosen by the client, or the id of a conversation")
    messages: list[UiMessage] | None = Field(None, min_length=1, max_length=MOST_MESSAGES)
    message: UiMessage | None = None
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    messageId: Id | None = Field(  # the SDK's name
        None, description="The id of the message to edit, to continue or to generate again"
    )
    model: ModelName | None = Field(
        None, description="The model; not a field of the SDK, set it in `body` of the transport"
    )
    on_busy: OnBusy | None = Field(
        None,
        description="The policy while an answer of this chat is running; not a field of the SDK; default: interrupt",
    )
    tools: dict[str, dict[str, Any]] | None = Field(
        None,
        max_length=128,
        description="Functions of the client by name, with `description` and `parameters`; not a field of the SDK",
    )
    response_format: ResponseFormat | None = Field(
        None, description="The form that the text must have, as in OpenAI's chat completions; not a field of the SDK"
    )

    @model_validator(mode="after")
    def _has_messages(self, info: ValidationInfo) -> UiChatBody:
        if not self.messages and self.message is None:
            raise ValueError("messages: must not be empty")
        if not self.last.id:
            raise ValueError("messages: the last one must have an id")
        if self.last.role == "user" and (self.trigger == "submit-message" or self.last.text):
            if not self.last.text and not self.last.files:
                raise ValueError(f"messages: the last one {_NO_TEXT}")
            if self.last.text or not self.last.files:
                not_too_long(self.last.text, info)
        for message in self.all:
            storable(message.text)
        sound([self.tools, self.last.tools, self.response_format, [part for _, part in self.last.files]])
        instructions = [message.text for message in self.all if message.role == "system"]
        check_prompt([self.tools, self.response_format, self.last.tools, self.last.text, instructions], info)
        return self

    @property
    def all(self) -> list[UiMessage]:
        """All messages of the request, the oldest first."""
        return [*(self.messages or ()), *([self.message] if self.message else ())]

    @property
    def last(self) -> UiMessage:
        """The newest message that is not from the system, or the newest message."""
        return next((message for message in reversed(self.all) if message.role != "system"), self.all[-1])


def found_files(body: UiChatBody) -> list[FoundFile]:
    """The files of the newest message. Those of earlier messages are stored with them. Raises InvalidFields."""
    if body.last.role != "user":
        return []
    number = next(n for n, message in enumerate(body.all) if message is body.last)
    place = "message" if body.message is body.last else f"messages[{number}]"
    return [_file(part, f"{place}.parts[{n}]") for n, part in body.last.files]


def _file(part: dict[str, Any], place: str) -> FoundFile:
    name = part.get("filename")
    if name is not None and not isinstance(name, str):
        raise InvalidFields([(f"{place}.filename", "must be a string")])
    return by_address(part.get("url"), f"{place}.url", FILE, filename=name)


def chat_request(body: UiChatBody, files: Sequence[FoundFile] = ()) -> ChatRequest:
    """The request in terms of the chat service; its files have been taken in. Raises InvalidFields."""
    said = [message for message in body.all if message.role != "system"]
    if not said:
        raise InvalidFields([("messages", "must have a message of the user")])
    last, before = said[-1], said[:-1]
    seen = [message.id for message in before if message.role == "assistant" and message.id]
    return ChatRequest(
        chat_id=body.id,
        message_id=last.id,
        text=last.text if last.role == "user" else "",
        files=tuple(file.part for file in files),
        outputs=tuple(outputs(last)) if last.role == "assistant" else (),
        before=tuple(Said(m.role, m.text) for m in before if m.role != "system" and m.text),
        seen_id=seen[-1] if seen else None,
        again=body.trigger == "regenerate-message",
        named_id=body.messageId,
        model=body.model,
        on_busy=body.on_busy or "interrupt",
        parameters=_parameters(body),
    )


def outputs(message: UiMessage) -> list[dict[str, Any]]:
    """The outputs of the calls in the newest step of an answer, as the items they are stored as."""
    begin = max((n for n, part in enumerate(message.parts) if part.get("type") == "step-start"), default=-1)
    step = message.model_copy(update={"parts": message.parts[begin + 1 :]})
    found = [(part["toolCallId"], _output(part)) for part in step.tools]
    return [
        {"type": "function_call_output", "call_id": call_id, "output": text}
        for call_id, text in found
        if text is not None
    ]


def _output(part: dict[str, Any]) -> str | None:
    """The output of a tool as text; None while the tool runs."""
    if part.get("state") == "output-available":
        output = part.get("output")
        text = output if isinstance(output, str) else orjson.dumps(output).decode()
    elif part.get("state") == "output-error":
        text = f"Error: {part.get('errorText')}"
    else:
        return None
    return text


def _parameters(body: UiChatBody) -> dict[str, Any]:
    """Parameters for the upstream, under the names of chat completions."""
    wanted: dict[str, Any] = {}
    instructions = "\n\n".join(message.text for message in body.all if message.role == "system" and message.text)
    if instructions:
        wanted["instructions"] = instructions
    if body.tools:
        wanted["tools"] = [_function(name, tool) for name, tool in body.tools.items()]
    if body.response_format is not None:
        wanted["response_format"] = body.response_format
    return wanted


def _function(name: str, tool: dict[str, Any]) -> dict[str, Any]:
    schema = tool.get("parameters", tool.get("inputSchema"))
    named = {"name": name, "description": tool.get("description"), "parameters": schema}
    return {"type": "function", "function": {key: value for key, value in named.items() if value is not None}}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_tool(kind: Any) -> bool:
    return isinstance(kind, str) and (kind == "dynamic-tool" or kind.startswith("tool-"))
