"""Addresses of protocols that are not offered here, with a sentence that says which ones are."""

from __future__ import annotations

HERE = (
    "This service offers OpenAI's protocol under /v1 (chat completions, responses, embeddings), the Vercel AI SDK's at"
    " /api/chat, and its own under /api/v1."
)
OLLAMA = f"Ollama's protocol is not offered here. {HERE} Set the client to an OpenAI-compatible server at /v1."
ANTHROPIC = f"Anthropic's protocol is not offered here. {HERE}"
COMPLETIONS = "/v1/completions is not offered here. Use chat completions: POST /v1/chat/completions."

_OLLAMA_PATHS = frozenset(
    f"/api/{name}"
    for name in (
        "generate", "tags", "show", "embed", "embeddings", "ps", "pull", "push", "create", "copy", "delete", "version",
    )
)  # fmt: skip


def elsewhere(path: str) -> str | None:
    """The sentence for an address of another protocol; None for any other address."""
    path = path.rstrip("/")
    if path in _OLLAMA_PATHS or path.startswith("/api/blobs/"):
        return OLLAMA
    if path.startswith("/v1/messages") or path == "/v1/complete":
        return ANTHROPIC
    return COMPLETIONS if path == "/v1/completions" else None


def is_ollama_chat(body: object) -> bool:
    """True for the body of Ollama's POST /api/chat, whose address the AI SDK has, too."""
    if not isinstance(body, dict) or "id" in body:
        return False
    messages = body.get("messages")
    return isinstance(messages, list) and all(
        isinstance(message, dict) and "parts" not in message for message in messages
    )
