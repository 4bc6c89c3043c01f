"""Fields of a request that OpenAI's protocol does not have: sent to the upstream, which may refuse them. Pure.

Upstreams have parameters of their own, such as top_k, chat_template_kwargs or keep_alive. Fields of this service are
never among them.
"""

from __future__ import annotations

from typing import Any

import orjson

from app.api.errors import InvalidFields
from app.api.openai.bodies import OpenBody
from app.api.request_parsing import UNKNOWN_FIELD

# The names of the fields and their values together, as JSON.
UNKNOWN_PARAMETER_BYTES = 65_536
UNKNOWN_PARAMETERS = 64
# Parameters that this service sets itself, or reads from a field with another name.
_OURS = frozenset(
    {
        "input", "instructions", "max_completion_tokens", "max_output_tokens", "max_tokens", "messages", "model", "n",
        "parallel_tool_calls", "reasoning_effort", "response_format", "stream", "stream_options", "text", "tool_choice",
        "tools", "verbosity",
    }
)  # fmt: skip


def unknown_fields(body: OpenBody, *, passed: bool) -> dict[str, Any]:
    """The unknown fields of a request, as parameters for its upstream; null counts as absent.

    Raises InvalidFields for a field of this service, for too much, and for any of them unless they are ``passed``.
    """
    found = {name: value for name, value in (body.model_extra or {}).items() if value is not None}
    refused = [name for name in body.model_extra or {} if not passed or name in _OURS]
    if refused:
        raise InvalidFields([(_shown(name), UNKNOWN_FIELD) for name in refused[:UNKNOWN_PARAMETERS]])
    if len(found) > UNKNOWN_PARAMETERS:
        raise InvalidFields([("", f"must not have more than {UNKNOWN_PARAMETERS} fields that OpenAI's protocol lacks")])
    size = len(orjson.dumps(found)) if found else 0
    if size > UNKNOWN_PARAMETER_BYTES:
        detail = (
            f"fields that OpenAI's protocol lacks must have at most {UNKNOWN_PARAMETER_BYTES} bytes together"
            f" (UNKNOWN_PARAMETER_BYTES), and have {size}"
        )
        raise InvalidFields([(_shown(max(found, key=lambda name: len(orjson.dumps(found[name])))), detail)])
    return found


def _shown(name: str) -> str:
    return name if len(name) <= 80 else name[:80] + "…"
