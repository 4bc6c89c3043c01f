"""The variables of files."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from app.files.address import storage_of
from app.files.limits import ContentLimits, FileLimits, UploadLimits
from app.files.storage import Storage


class FileSettings(BaseSettings):
    """The storage of files, and their limits."""

    files_url: str = "file:.data/files"
    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_session_token: SecretStr | None = None
    max_file_bytes: int = Field(33_554_432, ge=1024, le=1_073_741_824)
    max_uploads_at_once: int = Field(8, ge=1)
    max_upload_part_bytes: int = Field(33_554_432, ge=5_242_880, le=1_073_741_824)
    max_upload_parts: int = Field(1000, ge=1, le=10_000)
    max_open_uploads_per_user: int = Field(20, ge=1, le=1000)
    max_thumbnails_at_once: int = Field(2, ge=0, le=64)
    max_image_pixels: int = Field(50_000_000, ge=1, le=1_000_000_000)
    max_unpacked_bytes: int = Field(268_435_456, ge=1024)
    file_bytes_per_user: int = Field(1_073_741_824, ge=1024)
    max_files_per_user: int = Field(10_000, ge=1, le=1_000_000)
    unused_file_seconds: float = Field(86_400, ge=60)

    @field_validator("files_url")
    @classmethod
    def _readable_address(cls, url: str) -> str:
        storage_of(url, {})
        return url

    @property
    def file_limits(self) -> FileLimits:
        """The limits, as one value."""
        content = ContentLimits(self.max_image_pixels, self.max_unpacked_bytes)
        of_user = self.file_bytes_per_user, self.max_files_per_user
        return FileLimits(self.max_file_bytes, content, *of_user, self.max_thumbnails_at_once)

    @property
    def upload_limits(self) -> UploadLimits:
        """The limits of uploads in parts, as one value."""
        return UploadLimits(self.max_upload_parts, self.max_open_uploads_per_user)

    @property
    def file_storage(self) -> Storage:
        """The storage. Nothing is connected yet."""
        given = {
            "access_key_id": self.aws_access_key_id,
            "secret_access_key": self.aws_secret_access_key and self.aws_secret_access_key.get_secret_value(),
            "session_token": self.aws_session_token and self.aws_session_token.get_secret_value(),
        }
        return storage_of(self.files_url, {name: value for name, value in given.items() if value})
