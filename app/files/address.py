"""FILES_URL: the address of the storage."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from app.files.disk import DiskStorage
from app.files.s3 import Bucket, S3Storage
from app.files.storage import Storage

_OPTIONS = {"endpoint", "region"}
_REGION = "us-east-1"


def storage_of(url: str, credentials: dict[str, str]) -> Storage:
    """The storage at an address: ``file:<folder>``, or ``s3://<bucket>/<prefix>?endpoint=&region=``.

    ``credentials`` are those of a bucket. Raises ValueError.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        if parts.netloc or parts.query or not parts.path:
            raise ValueError("must be file: and a folder, such as file:/srv/files")
        return DiskStorage(Path(parts.path))
    if parts.scheme != "s3" or not parts.hostname:
        raise ValueError("must begin with file: or s3://<bucket>")
    if "@" in parts.netloc:
        raise ValueError("must have no key in it: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    options = {name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
    if unknown := options.keys() - _OPTIONS:
        raise ValueError(f"has the unknown option {sorted(unknown)[0]}; there are endpoint and region")
    endpoint = options.get("endpoint")
    if endpoint is not None and urlsplit(endpoint).scheme not in ("http", "https"):
        raise ValueError("endpoint must begin with https:// or http://")
    return S3Storage(Bucket(parts.netloc, parts.path.strip("/"), endpoint, options.get("region", _REGION), credentials))
