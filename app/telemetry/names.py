"""Names of OpenTelemetry's conventions, and of our own attributes. Pure.

The conventions for generative AI are in development (github.com/open-telemetry/semantic-conventions-genai). These are
the names of `opentelemetry-semantic-conventions` 0.66b2. A test compares them with that package.
"""

from __future__ import annotations

from typing import NamedTuple

# Generative AI: a call of a model.
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
CONVERSATION_ID = "gen_ai.conversation.id"
OUTPUT_TYPE = "gen_ai.output.type"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE = "gen_ai.request.temperature"
REQUEST_TOP_P = "gen_ai.request.top_p"
REQUEST_SEED = "gen_ai.request.seed"
REQUEST_FREQUENCY_PENALTY = "gen_ai.request.frequency_penalty"
REQUEST_PRESENCE_PENALTY = "gen_ai.request.presence_penalty"
REQUEST_STOP_SEQUENCES = "gen_ai.request.stop_sequences"
RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons"
RESPONSE_TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
USAGE_INPUT_TOKENS = "gen_ai.usage.input_tokens"
USAGE_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
USAGE_CACHE_READ = "gen_ai.usage.cache_read.input_tokens"
USAGE_CACHE_CREATION = "gen_ai.usage.cache_creation.input_tokens"
USAGE_REASONING = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"
# Generative AI: a call of a tool.
TOOL_NAME = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"
TOOL_CALL_ID = "gen_ai.tool.call.id"
# Generative AI: content, which is recorded only where an operator has chosen it.
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
TOOL_CALL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_CALL_RESULT = "gen_ai.tool.call.result"

CHAT, GENERATE_CONTENT, EMBEDDINGS, EXECUTE_TOOL = "chat", "generate_content", "embeddings", "execute_tool"

# HTTP and servers; these are stable.
ERROR_TYPE = "error.type"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
HTTP_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"
URL_SCHEME = "url.scheme"
SERVICE_NAME = "service.name"
SERVICE_VERSION = "service.version"
SERVICE_INSTANCE_ID = "service.instance.id"

# Our own.
GENERATION_ID = "unbroken.generation.id"
REQUEST_ID = "unbroken.request.id"
PROCESS_KIND = "unbroken.process"
WORKER = "unbroken.worker"
EPOCH = "unbroken.epoch"
TRY = "unbroken.try"
TARGET = "unbroken.target"
ATTEMPT = "unbroken.attempt"
REASON = "unbroken.reason"
STATUS = "unbroken.status"
PURPOSE = "unbroken.purpose"
FINISH_REASON = "unbroken.finish_reason"
WAITED_SECONDS = "unbroken.waited_seconds"
STREAM_EVENTS = "unbroken.stream.events"
STREAM_BYTES = "unbroken.stream.bytes"
OMITTED = "unbroken.omitted"

# Histograms.
CLIENT_DURATION = "gen_ai.client.operation.duration"
CLIENT_TOKENS = "gen_ai.client.token.usage"
CLIENT_FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
CLIENT_CHUNK = "gen_ai.client.operation.time_per_output_chunk"
SERVER_DURATION = "gen_ai.server.request.duration"
SERVER_FIRST_TOKEN = "gen_ai.server.time_to_first_token"
SERVER_TOKEN = "gen_ai.server.time_per_output_token"
TOOL_DURATION = "gen_ai.execute_tool.duration"


class HistogramForm(NamedTuple):
    """The unit, the bounds of the buckets and the description of a histogram."""

    unit: str
    bounds: tuple[float, ...]
    description: str


_SECONDS = tuple(0.01 * 2**n for n in range(14))
_TOKENS = tuple(float(4**n) for n in range(14))
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_EACH = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)

HISTOGRAMS = {
    CLIENT_DURATION: HistogramForm("s", _SECONDS, "Duration of a call of a model"),
    CLIENT_TOKENS: HistogramForm("{token}", _TOKENS, "Tokens of a call of a model, as the provider counted them"),
    CLIENT_FIRST_CHUNK: HistogramForm("s", _FIRST, "From the request to the first chunk of its answer"),
    CLIENT_CHUNK: HistogramForm("s", _EACH, "From one chunk of an answer to the next"),
    SERVER_DURATION: HistogramForm("s", _SECONDS, "From the acceptance of a generation to its end"),
    SERVER_FIRST_TOKEN: HistogramForm("s", _FIRST, "From the acceptance of a generation to its first token"),
    SERVER_TOKEN: HistogramForm("s", _EACH, "Time for each token behind the first one of a completed generation"),
    TOOL_DURATION: HistogramForm("s", _SECONDS, "Duration of a call of a tool"),
}
