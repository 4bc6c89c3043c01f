"""What the SDK's transport posts, into what is asked of us. Pure.

Apps add fields of their own to the body, and newer SDKs new kinds of parts: what is not known is not looked at.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, model_validator

from app.api.errors import InvalidFields
from app.api.fields import ModelName, OnBusy
from app.api.reading import Text, not_too_long
from app.domain.commands import Said
from app.domain.storable import sound, storable
from app.services.chats import Ask

Id = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
# Who may have so many messages can have them imported another way.
MOST_MESSAGES = 1000

_NO_TEXT = "must have a part of type text"
_NO_FILES = "files are not supported here"


class Loose(BaseModel):
    """A JSON object with at least these fields."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class UiMessage(Loose):
    """A UIMessage. Of its parts, text and the outputs of tools are read."""

    id: Id
    role: Literal["system", "user", "assistant"]
    parts: list[dict[str, Any]] = Field(max_length=MOST_MESSAGES)

    @property
    def text(self) -> str:
        """What it says."""
        return "".join(part["text"] for part in self.parts if part.get("type") == "text" and _is_text(part.get("text")))

    @property
    def tools(self) -> list[dict[str, Any]]:
        """Its tool calls, typed ones and dynamic ones."""
        return [part for part in self.parts if _is_tool(part.get("type")) and _is_text(part.get("toolCallId"))]


class UiChatBody(Loose):
    """Either the whole history in `messages`, or only the last message in `message`."""

    id: Id = Field(description="The chat's id: the client's choice, or the id of a conversation")
    messages: list[UiMessage] | None = Field(None, min_length=1, max_length=MOST_MESSAGES)
    message: UiMessage | None = None
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    messageId: Id | None = Field(  # the SDK's name
        None, description="Which message is edited, continued or generated once more"
    )
    model: ModelName | None = Field(None, description="Not the SDK's: who answers, by `body` of the transport")
    on_busy: OnBusy | None = Field(
        None, description="Not the SDK's: what to do while an answer is being made in this chat; interrupt if left out"
    )
    tools: dict[str, dict[str, Any]] | None = Field(
        None,
        max_length=128,
        description="Not the SDK's: functions the client runs, by name, each with `description` and `parameters`",
    )

    @model_validator(mode="after")
    def _has_messages(self, info: ValidationInfo) -> UiChatBody:
        if not self.messages and self.message is None:
            raise ValueError("messages: must not be empty")
        if self.last.role == "user" and (self.trigger == "submit-message" or self.last.text):
            if any(part.get("type") == "file" for part in self.last.parts):
                raise ValueError(f"messages: {_NO_FILES}")
            if not self.last.text:
                raise ValueError(f"messages: the last one {_NO_TEXT}")
            not_too_long(self.last.text, info)
        for message in self.all:
            storable(message.text)
        sound([self.tools, self.last.tools])
        return self

    @property
    def all(self) -> list[UiMessage]:
        """Every message that was sent, oldest first."""
        return [*(self.messages or ()), *([self.message] if self.message else ())]

    @property
    def last(self) -> UiMessage:
        """The newest message of a person or a model, wherever instructions stand; if there is none, the newest."""
        return next((message for message in reversed(self.all) if message.role != "system"), self.all[-1])


def ask(body: UiChatBody) -> Ask:
    """What a request is about. Raises InvalidFields."""
    said = [message for message in body.all if message.role != "system"]
    if not said:
        raise InvalidFields([("messages", "must have one of the user")])
    last, before = said[-1], said[:-1]
    seen = [message.id for message in before if message.role == "assistant"]
    return Ask(
        chat_id=body.id,
        message_id=last.id,
        text=last.text if last.role == "user" else "",
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
    """What a tool said, as text; None while it has said nothing."""
    if part.get("state") == "output-available":
        output = part.get("output")
        text = output if isinstance(output, str) else orjson.dumps(output).decode()
    elif part.get("state") == "output-error":
        text = f"Error: {part.get('errorText')}"
    else:
        return None
    return text


def _parameters(body: UiChatBody) -> dict[str, Any]:
    """What the upstream is told beside the messages, in the names of chat completions."""
    wanted: dict[str, Any] = {}
    instructions = "\n\n".join(message.text for message in body.all if message.role == "system" and message.text)
    if instructions:
        wanted["instructions"] = instructions
    if body.tools:
        wanted["tools"] = [_function(name, tool) for name, tool in body.tools.items()]
    return wanted


def _function(name: str, tool: dict[str, Any]) -> dict[str, Any]:
    schema = tool.get("parameters", tool.get("inputSchema"))
    named = {"name": name, "description": tool.get("description"), "parameters": schema}
    return {"type": "function", "function": {key: value for key, value in named.items() if value is not None}}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_tool(kind: Any) -> bool:
    return isinstance(kind, str) and (kind == "dynamic-tool" or kind.startswith("tool-"))
