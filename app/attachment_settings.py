"""The variables of files in messages."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class AttachmentSettings(BaseSettings):
    """The files of one message, of one request and of one prompt, and the reading of their texts."""

    max_attachments: int = Field(10, ge=1, le=100)
    max_prompt_file_bytes: int = Field(15_728_640, ge=1024, le=1_073_741_824)
    max_inline_body_bytes: int = Field(22_020_096, ge=1024, le=1_073_741_824)
    max_inline_bodies_at_once: int = Field(4, ge=1)
    max_file_text_chars: int = Field(100_000, ge=100, le=10_000_000)
    max_file_text_pages: int = Field(500, ge=1)
    file_text_seconds: float = Field(15, ge=1, le=300)
    prompt_text_seconds: float = Field(60, ge=1, le=3600)
    worker_file_bytes: int = Field(134_217_728, ge=1_048_576)
    worker_file_wait_seconds: float = Field(300, ge=1, le=3600)
