"""Readers that several protocols share, pure.

sse              framing of event streams. framing finds events in a body, however it is labelled
upstream_errors  status codes and error objects to ProviderError. error_shapes recognises an error by its shape
native_usage     counts of tokens of the native protocols. clean_text is their JSON
continuation     the seam of an answer that is continued after a break
model_list       an upstream's list of models to names
"""
