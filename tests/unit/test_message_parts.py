"""Files in messages: from stored items to the request of each kind of provider."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from app.domain import message_files
from app.domain.accepts import accepts_of
from app.services.history import Turn
from worker.attempts import prompt_tokens
from worker.prompt import chat_messages
from worker.providers.anthropic import request as anthropic
from worker.providers.anthropic.abilities import Abilities
from worker.providers.base import ChatMessage, Prompt
from worker.providers.chat import request as chat
from worker.providers.chat.history import normal
from worker.providers.gemini import interactions_request
from worker.providers.gemini import request as gemini
from worker.providers.offline.provider import full_answer
from worker.providers.parts import FILE_TOKENS, FilePart
from worker.providers.responses import request as responses

PNG, PDF = b"\x89PNG and more", b"%PDF-1.7 and more"
IMAGE = FilePart("file-1", "cat.png", "image/png", len(PNG), "high", PNG)
DOCUMENT = FilePart("file-2", "plan.pdf", "application/pdf", len(PDF), data=PDF)
SHOWN, READ = b64encode(PNG).decode(), b64encode(PDF).decode()
ASKED = ChatMessage("user", "Compare", parts=("Compare", IMAGE, DOCUMENT, "[Text of a file]"))
PROMPT = Prompt("m", (ASKED,))


def content_for_chat() -> Any:
    return chat.request_body(PROMPT)["messages"][0]["content"]


def content_for_responses() -> Any:
    return responses.request_body(PROMPT, background=False)["input"][0]["content"]


def content_for_anthropic() -> Any:
    return anthropic.request_body(PROMPT, Abilities())["messages"][0]["content"]


def content_for_gemini() -> Any:
    return gemini.request_body(PROMPT)["contents"][0]["parts"]


def content_for_interactions() -> Any:
    return interactions_request.request_body(PROMPT, background=False)["input"][0]["content"]


def test_each_kind_of_provider_receives_files_in_its_own_form() -> None:
    assert content_for_chat() == [
        {"type": "text", "text": "Compare"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{SHOWN}", "detail": "high"}},
        {"type": "file", "file": {"filename": "plan.pdf", "file_data": f"data:application/pdf;base64,{READ}"}},
        {"type": "text", "text": "[Text of a file]"},
    ]
    assert content_for_responses() == [
        {"type": "input_text", "text": "Compare"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{SHOWN}", "detail": "high"},
        {"type": "input_file", "filename": "plan.pdf", "file_data": f"data:application/pdf;base64,{READ}"},
        {"type": "input_text", "text": "[Text of a file]"},
    ]
    pdf = {"type": "base64", "media_type": "application/pdf", "data": READ}
    assert content_for_anthropic() == [
        {"type": "text", "text": "Compare"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": SHOWN}},
        {"type": "document", "source": pdf, "title": "plan.pdf"},
        {"type": "text", "text": "[Text of a file]"},
    ]
    assert content_for_gemini() == [
        {"text": "Compare"},
        {"inlineData": {"mimeType": "image/png", "data": SHOWN}},
        {"inlineData": {"mimeType": "application/pdf", "data": READ}},
        {"text": "[Text of a file]"},
    ]
    assert content_for_interactions() == [
        {"type": "text", "text": "Compare"},
        {"type": "image", "mime_type": "image/png", "data": SHOWN},
        {"type": "document", "mime_type": "application/pdf", "data": READ},
        {"type": "text", "text": "[Text of a file]"},
    ]


def test_a_message_whose_files_became_text_is_sent_as_text() -> None:
    prompt = Prompt("m", (ChatMessage("user", "Sum up", parts=("Sum up", "[Text]")),))
    assert chat.request_body(prompt)["messages"] == [{"role": "user", "content": "Sum up\n\n[Text]"}]
    assert responses.request_body(prompt, background=False)["input"][0]["content"] == "Sum up\n\n[Text]"


def test_messages_that_are_joined_keep_all_their_parts_in_order() -> None:
    only_image = ChatMessage("user", "", parts=(IMAGE,))
    [joined] = normal((ChatMessage("user", "Look"), only_image, ChatMessage("user", " "), ASKED))
    assert joined.parts == ("Look", IMAGE, "Compare", IMAGE, DOCUMENT, "[Text of a file]")
    assert joined.content == "Look\n\nCompare"
    assert normal((joined,)) == (joined,)
    assert normal((only_image,)) == (only_image,)


def test_stored_parts_become_parts_of_the_prompt() -> None:
    part = message_files.FilePart(
        {"type": "input_image", "file_id": "file-1", "detail": "low", "filename": "cat.png", "media_type": "image/png",
         "bytes": 9, "width": 2, "height": 3}
    )  # fmt: skip
    turn = Turn("1", "user", "Hi", list(message_files.items_with("Hi", [part])))
    [message] = chat_messages([turn])
    assert message == ChatMessage("user", "Hi", parts=("Hi", FilePart("file-1", "cat.png", "image/png", 9, "low")))
    alone = Turn("2", "user", "", list(message_files.items_with("", [part])))
    [message] = chat_messages([alone])
    assert (message.content, len(message.files), message.is_blank) == ("", 1, False)
    assert message_files.attachments(turn.items) == [
        {"file_id": "file-1", "filename": "cat.png", "media_type": "image/png", "bytes": 9, "width": 2, "height": 3}
    ]
    assert message_files.items_with("Hi", []) == ()


def test_the_offline_model_names_what_it_has_received() -> None:
    told = "".join(full_answer(PROMPT))
    assert "**cat.png**, an image of 13 bytes (image/png)" in told
    assert "**plan.pdf**, a file of 17 bytes (application/pdf)" in told
    assert "- Text of a file (16 characters)" in told
    assert "What I received" not in "".join(full_answer(Prompt("m", (ChatMessage("user", "Compare"),))))
    assert prompt_tokens(PROMPT) > 2 * FILE_TOKENS


@pytest.mark.parametrize(
    ("kinds", "configured", "images", "files"),
    [
        (["offline"], {}, True, True),
        (["openai"], {}, True, False),
        (["anthropic", "openai"], {}, True, False),
        (["gemini"], {"images": False}, False, True),
        (["openai"], {"files": True}, True, True),
        (["unheard of"], {}, True, False),
    ],
)
def test_a_model_takes_what_all_its_targets_take_unless_it_is_configured(
    kinds: list[str], configured: dict[str, bool], images: bool, files: bool
) -> None:
    accepts = accepts_of(configured, kinds)
    assert (accepts.takes_as_it_is("image/png"), accepts.takes_as_it_is("application/pdf")) == (images, files)
    assert accepts.takes("application/pdf")
    assert accepts.takes("text/csv")
    assert not accepts.takes_as_it_is("text/csv")
    assert not accepts.takes("audio/wav")
