"""Names of files: one line without a path, and an extension that does not contradict the content."""

from __future__ import annotations

import re
from typing import Literal

from app.domain.single_line import is_single_line
from app.files.errors import Refused

Family = Literal["image", "pdf", "office", "audio", "text", "other"]

LONGEST_NAME = 255
_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,8})$")
# Extensions whose content is no text. Any other extension, or none, says nothing.
_FAMILIES: dict[str, Family] = {
    **dict.fromkeys(("png", "jpg", "jpeg", "jpe", "jfif", "gif", "webp"), "image"),
    **dict.fromkeys(("bmp", "tif", "tiff", "ico", "heic", "heif", "avif", "svg", "svgz", "psd"), "other"),
    "pdf": "pdf",
    **dict.fromkeys(("docx", "xlsx", "pptx", "odt", "ods", "odp", "epub"), "office"),
    **dict.fromkeys(("wav", "mp3"), "audio"),
    **dict.fromkeys(("mp4", "m4a", "mov", "avi", "mkv", "webm", "ogg", "flac", "aac"), "other"),
    **dict.fromkeys(("zip", "jar", "apk", "rar", "7z", "gz", "tgz", "bz2", "xz", "tar", "iso", "dmg"), "other"),
    **dict.fromkeys(("exe", "dll", "com", "msi", "scr", "so", "dylib", "class", "swf", "doc", "xls", "ppt"), "other"),
}
# Extensions of texts that a browser or a system runs: a picture must not have such a name.
_RUN = frozenset(("html", "htm", "xhtml", "xht", "shtml", "xml", "xsl", "js", "mjs", "css", "php", "hta", "bat", "cmd",
                  "ps1", "vbs", "sh", "py", "pl", "rb", "lnk", "url", "txt", "md", "csv", "json"))  # fmt: skip
_TEXT_TYPES = {"md": "text/markdown", "markdown": "text/markdown", "csv": "text/csv", "json": "application/json"}


def check_name(name: str) -> str:
    """The name without spaces around it. Raises Refused."""
    name = name.strip()
    if not name or set(name) == {"."}:
        raise Refused("the file must have a name")
    if len(name) > LONGEST_NAME:
        raise Refused(f"the name of the file must have at most {LONGEST_NAME} characters")
    if "/" in name or "\\" in name:
        raise Refused("the name of the file must not have a path: / and \\ are not allowed")
    if not is_single_line(name) or "\ufffd" in name:
        raise Refused(
            "the name of the file must be one line, without control characters and marks that turn the direction"
        )
    return name


def extension_of(name: str) -> str:
    """The extension in lower case; empty without one."""
    found = _EXTENSION.search(name)
    return found[1].lower() if found else ""


def check_extension(name: str, family: Family) -> None:
    """Refuse a name whose extension belongs to another kind of content. Raises Refused."""
    extension = extension_of(name)
    expected = _FAMILIES.get(extension, "text" if extension in _RUN else None)
    if expected is not None and expected != family:
        raise Refused(f"the name ends with .{extension}, and the content is {DESCRIPTIONS[family]}")


def text_type(name: str) -> str:
    """The media type of a text, by its extension. None of them is one that a browser runs."""
    return _TEXT_TYPES.get(extension_of(name), "text/plain")


DESCRIPTIONS: dict[Family, str] = {
    "image": "an image",
    "pdf": "a PDF",
    "office": "an office document",
    "audio": "audio",
    "text": "text",
    "other": "of another kind",
}
