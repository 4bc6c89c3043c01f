"""The codes of the errors with which an answer can end. A client can have a sentence for each."""

from __future__ import annotations

from typing import Literal

AnswerError = Literal[
    "answer_too_large",
    "attempts_exhausted",
    "context_length",
    "failed_by_operator",
    "file_unavailable",
    "first_token_timeout",
    "generation_timeout",
    "interrupted",
    "invalid_format",
    "model_gone",
    "provider_unknown",
    "token_timeout",
    "upstream_connection",
    "upstream_encoding",
    "upstream_error",
    "upstream_malformed",
    "upstream_quota",
    "upstream_rate_limited",
    "upstream_rejected",
    "upstream_run_gone",
    "upstream_timeout",
    "upstream_truncated",
    "upstream_unauthorized",
    "upstream_unavailable",
]
