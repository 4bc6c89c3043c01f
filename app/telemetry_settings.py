"""The variables of OpenTelemetry, with the names of its specification."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from app.telemetry.interface import TelemetryOptions

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# The values of the instrumentations of Python. Events are not sent here.
_CAPTURES = {"true": True, "1": True, "span_only": True, "span_and_event": True}
_CAPTURES_NOT = {"false": False, "0": False, "no_content": False}


def _captures(value: Any) -> Any:
    found = {**_CAPTURES, **_CAPTURES_NOT}
    if isinstance(value, str) and value.lower() not in found:
        raise ValueError("it has to be NO_CONTENT or SPAN_ONLY")
    return found[value.lower()] if isinstance(value, str) else value


class TelemetrySettings(BaseSettings):
    """The endpoint and the content of spans and measurements. Without an endpoint there are none."""

    otel_exporter_otlp_endpoint: str | None = Field(None, pattern=r"^https?://[^/?#\s]+[^?#\s]*$", repr=False)
    otel_exporter_otlp_headers: SecretStr | None = None
    otel_exporter_otlp_protocol: Literal["http/protobuf"] = "http/protobuf"
    otel_traces_exporter: Literal["otlp", "none"] = "otlp"
    otel_metrics_exporter: Literal["otlp", "none"] = "otlp"
    otel_sdk_disabled: bool = False
    otel_service_name: str | None = None
    otel_resource_attributes: str | None = None
    otel_traces_sampler: Literal[
        "always_on", "always_off", "traceidratio",
        "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio",
    ] = "parentbased_always_on"  # fmt: skip
    otel_traces_sampler_arg: float = Field(1.0, ge=0, le=1)
    trace_url_template: str | None = Field(None, pattern=r"^https?://[^\s{}]*\{trace_id\}[^\s{}]*$", max_length=2000)
    otel_instrumentation_genai_capture_message_content: Annotated[bool, BeforeValidator(_captures)] = False

    @field_validator("otel_exporter_otlp_headers")
    @classmethod
    def _can_be_sent(cls, headers: SecretStr | None) -> SecretStr | None:
        for part in _parts(headers):
            name, separator, value = _pair(part)
            if not separator or not _HEADER_NAME.fullmatch(name) or not (value.isascii() and value.isprintable()):
                raise ValueError("it has to be name=value,name=value of printable ASCII characters")
        return headers

    @property
    def telemetry(self) -> TelemetryOptions | None:
        """The options of telemetry; None where it is off."""
        endpoint = self.otel_exporter_otlp_endpoint
        if endpoint is None or self.otel_sdk_disabled:
            return None
        base = endpoint.rstrip("/")
        options = TelemetryOptions(
            traces=f"{base}/v1/traces" if self.otel_traces_exporter == "otlp" else None,
            metrics=f"{base}/v1/metrics" if self.otel_metrics_exporter == "otlp" else None,
            headers={name: value for name, _, value in map(_pair, _parts(self.otel_exporter_otlp_headers))},
            service_name=self.otel_service_name,
            resource_attributes=self.otel_resource_attributes or "",
            sampler=self.otel_traces_sampler,
            sampler_argument=self.otel_traces_sampler_arg,
            captures_content=self.otel_instrumentation_genai_capture_message_content,
        )
        return options if options.traces or options.metrics else None


def _parts(headers: SecretStr | None) -> list[str]:
    return [part for part in headers.get_secret_value().split(",") if part.strip()] if headers else []


def _pair(part: str) -> tuple[str, str, str]:
    """The name, the separator and the value of a header; values are percent-encoded, as in W3C Baggage."""
    name, separator, value = part.partition("=")
    return name.strip(), separator, unquote(value.strip())
