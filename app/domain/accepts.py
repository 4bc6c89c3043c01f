"""The abilities of a model: the inputs that it takes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain import file_kinds


class AcceptsSpec(BaseModel):
    """The inputs of a model, as an administrator names them. A field left out: as its upstreams do."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    images: bool | None = Field(None, description="Whether images can be attached")
    files: bool | None = Field(None, description="true: PDFs are sent as they are; false: the text of any file is sent")
    tools: bool | None = Field(None, description="Whether tools can be offered")
    reasoning: bool | None = Field(None, description="Whether an effort of reasoning can be chosen")


# Of a model whose inputs are not configured.
AS_UPSTREAMS = AcceptsSpec.model_validate({})


@dataclass(frozen=True, slots=True)
class Accepts:
    """The inputs that a model takes. Without ``files``, the text of a file is sent in its place."""

    images: bool
    files: bool
    tools: bool = True
    reasoning: bool = False

    @property
    def shown_files(self) -> Literal["text"] | bool:
        """``files`` as clients read it: "text" where the text is sent."""
        return self.files or "text"

    def takes_as_it_is(self, media_type: str) -> bool:
        """True for a file whose bytes the provider receives."""
        if file_kinds.is_image(media_type):
            return self.images and media_type in file_kinds.IMAGES
        return self.files and media_type in file_kinds.DOCUMENTS

    def takes(self, media_type: str) -> bool:
        """True for a file of which the model receives the bytes or the text."""
        return self.takes_as_it_is(media_type) or file_kinds.has_text(media_type)


# By the kind of an upstream. An upstream of the kind openai may be any server: few of them take documents.
OF_KIND = {
    "offline": Accepts(images=True, files=True, reasoning=True),
    "openai": Accepts(images=True, files=False),
    "anthropic": Accepts(images=True, files=True, reasoning=True),
    "gemini": Accepts(images=True, files=True, reasoning=True),
}
UNKNOWN_KIND = "openai"


def accepts_of(configured: Mapping[str, bool], kinds: Iterable[str]) -> Accepts:
    """The inputs of a model with targets of these ``kinds``: what all of them take, unless it is configured."""
    found = [OF_KIND.get(kind, OF_KIND[UNKNOWN_KIND]) for kind in kinds]

    def one(name: str) -> bool:
        value = configured.get(name)
        return all(getattr(accepts, name) for accepts in found) if value is None else bool(value)

    return Accepts(one("images"), one("files"), one("tools"), one("reasoning"))
