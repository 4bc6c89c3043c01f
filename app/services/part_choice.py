"""The parts of which an upload becomes a file."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.errors import InvalidInput
from app.store.uploads import Part, Upload


def chosen(upload: Upload, parts: Sequence[Part], part_ids: Sequence[str] | None) -> list[Part]:
    """The parts of the file in its order. Raises InvalidInput."""
    if part_ids is None:
        found, field = [part for part in parts if part.starts_at is not None], "bytes"
    else:
        found, field = _named({part.id: part for part in parts}, part_ids), "part_ids"
    total = sum(part.bytes for part in found)
    if total != upload.bytes:
        detail = f"the parts have {total} bytes together, and the upload was created for {upload.bytes}"
        raise InvalidInput(f"{field}: {detail}", field)
    return found


def _named(parts: dict[str, Part], part_ids: Sequence[str]) -> list[Part]:
    for n, one in enumerate(part_ids):
        if one not in parts:
            raise InvalidInput(f"part_ids[{n}]: the upload has no such part", f"part_ids[{n}]")
    if len(set(part_ids)) < len(part_ids):
        raise InvalidInput("part_ids: a part is given twice", "part_ids")
    return [parts[one] for one in part_ids]
