"""Limits of files, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContentLimits:
    """Pixels of an image, and the bytes to which a document may unpack."""

    pixels: int
    unpacked: int


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Bytes of one file, its content, and the bytes and number of the files of one user.

    ``thumbnails_at_once`` are made by a process; 0: none are made.
    """

    file_bytes: int
    content: ContentLimits
    user_bytes: int
    user_files: int
    thumbnails_at_once: int


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """The number of parts of an upload, and of the uploads of one user that are pending at a time."""

    parts: int
    open_uploads: int
