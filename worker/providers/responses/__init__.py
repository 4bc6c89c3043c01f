"""OpenAI's Responses API, with the runs of its background mode.

provider  the provider
request   prompt to request, pure
run       bytes of a run's streams to pieces, pure. items is a part of it
"""
