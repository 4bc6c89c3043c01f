"""Spans and measurements for OpenTelemetry, and nothing at all without an endpoint.

In reading order:

names           every name of the conventions, with the buckets of the histograms
spans           a span as the service uses it, and the one that records nothing
interface       telemetry as the service uses it, its options and counts
current         the telemetry of this process: chosen once, at the start
outgoing        the traceparent of the requests that a task sends
chunk_times     the times between chunks, which are measured without the SDK
sdk             spans and histograms by OpenTelemetry's SDK; imported only where an endpoint is set
span_queue      ended spans on their way to the collector
"""
