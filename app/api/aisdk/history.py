"""Stored messages as UI messages. Pure.

The outputs of a client's tools are stored as a message, and the next turn of the model as another answer. In the SDK
they are one message, under the id of the first answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from app.api.aisdk.ui_chunks import chunk, read_output, tool_input, tool_result
from app.domain import message_files
from app.domain.events import Tool
from app.domain.transcript import tool_of
from app.services.aisdk_chats import gives_outputs
from app.store.messages import Message

_RUNNING = ("queued", "running")


def steps(chain: Sequence[Message]) -> bytes:
    """The chunks of the earlier answers of a chain and of the outputs between them; empty without earlier answers."""
    outputs = outputs_in(chain)
    return b"".join(_step(answer, outputs) for answer in chain if answer.role == "assistant")


def ui_messages(branch: Iterable[Message]) -> list[dict[str, Any]]:
    """A branch in the form of the SDK. A running answer is left out: it is in the stream."""
    branch = list(branch)
    outputs = outputs_in(branch)
    shown: list[dict[str, Any]] = []
    for message in branch:
        if message.role == "user" and gives_outputs(message):
            continue
        if message.role == "user":
            shown.append(_question(message))
        elif message.status in _RUNNING:
            # The stream begins with the steps that the answer continues, so they are left out, too.
            if shown and shown[-1]["role"] == "assistant":
                shown.pop()
        elif shown and shown[-1]["role"] == "assistant":
            shown[-1]["parts"] += _parts(message, outputs)
        else:
            shown.append(_answer(message, outputs))
    return shown


def outputs_in(messages: Iterable[Message]) -> dict[str, str]:
    """The outputs of tools, by the id of the call."""
    items = [item for message in messages for item in message.items or () if item]
    return {i["call_id"]: _text(i.get("output")) for i in items if i.get("type") == "function_call_output"}


def _step(answer: Message, outputs: dict[str, str]) -> bytes:
    chunks = [chunk("start-step")]
    for kind, text in (("reasoning", answer.reasoning), ("text", answer.content)):
        if text:
            part = f"{answer.id}-{kind}"
            chunks += [chunk(f"{kind}-start", id=part), chunk(f"{kind}-delta", id=part, delta=text)]
            chunks.append(chunk(f"{kind}-end", id=part))
    for call in _calls(answer, outputs):
        here = _ran_here(call, outputs)
        chunks += [tool_input(call, here=here), tool_result(call, here=here) if call.state != "started" else b""]
    return b"".join((*chunks, chunk("finish-step")))


def _calls(answer: Message, outputs: dict[str, str]) -> list[Tool]:
    """The tool calls of an answer, with the outputs of the client's tools."""
    calls = [tool_of(view) for view in answer.tools]
    return [
        Tool(call.call_id, call.tool, "finished", call.arguments, outputs[call.call_id])
        if call.call_id in outputs and call.state == "started"
        else call
        for call in calls
    ]


def _question(message: Message) -> dict[str, Any]:
    parts = [_file_part(part) for part in message_files.in_items(message.items) if part.get("file_id")]
    if message.content or not parts:
        parts.insert(0, {"type": "text", "text": message.content})
    return {"id": message.client_msg_id or message.id, "role": "user", "parts": parts}


def _file_part(part: message_files.FilePart) -> dict[str, Any]:
    """A file as a part of a UI message. Its address is read with the credentials of the user."""
    url = f"/api/v1/files/{part['file_id']}/content"
    return {"type": "file", "mediaType": part.get("media_type"), "filename": part.get("filename"), "url": url}


def _answer(message: Message, outputs: dict[str, str]) -> dict[str, Any]:
    metadata = {"generation_id": message.generation_id, "model": message.model, "status": message.status}
    return {"id": message.id, "role": "assistant", "metadata": metadata, "parts": _parts(message, outputs)}


def _parts(message: Message, outputs: dict[str, str]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"type": "step-start"}]
    for kind, text in (("reasoning", message.reasoning), ("text", message.content)):
        if text:
            parts.append({"type": kind, "text": text, "state": "done"})
    return parts + [_tool_part(call, _ran_here(call, outputs)) for call in _calls(message, outputs)]


def _ran_here(call: Tool, outputs: dict[str, str]) -> bool:
    return call.state != "started" and call.call_id not in outputs


def _tool_part(call: Tool, ran_here: bool) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "dynamic-tool", "toolName": call.tool, "toolCallId": call.call_id}
    if ran_here:
        part["providerExecuted"] = True
    try:
        part["input"] = orjson.loads(call.arguments or "{}")
    except ValueError:
        return part | {"state": "output-error", "input": call.arguments, "errorText": "The input is not valid JSON."}
    if call.state == "failed":
        return part | {"state": "output-error", "errorText": call.result or "The tool failed."}
    if call.state == "finished":
        return part | {"state": "output-available", "output": read_output(call.result)}
    return part | {"state": "input-available"}


def _text(output: Any) -> str:
    return output if isinstance(output, str) else orjson.dumps(output).decode()
