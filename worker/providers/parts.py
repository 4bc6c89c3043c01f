"""Files in the messages of a prompt: frozen data, no I/O."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field

# About so many tokens are counted for a file of which a provider has not said a number: an image of one megapixel.
FILE_TOKENS = 1000


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file in a message: an image, or a document.

    ``size`` is its number of bytes. ``data`` are the bytes; None before they are read. ``detail`` is the resolution in
    which the model looks at an image, as OpenAI names it.
    """

    file_id: str
    filename: str
    media_type: str
    size: int
    detail: str = "auto"
    data: bytes | None = field(default=None, repr=False)

    @property
    def is_image(self) -> bool:
        """True for a file that the model sees."""
        return self.media_type.startswith("image/")

    @property
    def base64(self) -> str:
        """The bytes as text. They have been read before."""
        assert self.data is not None, "read before the request is built"
        return b64encode(self.data).decode()

    @property
    def data_url(self) -> str:
        """The bytes as a data URL. They have been read before."""
        return f"data:{self.media_type};base64,{self.base64}"


# A part of a message: text, or a file.
Part = str | FilePart
