"""Providers: the sources of answers. Each protocol has a room, and all send the pieces that ``base`` defines.

base       prompts, pieces and errors
registry   builds the providers of a process from plain values
chat       OpenAI's chat completions
anthropic  Anthropic's Messages API
gemini     Gemini's own APIs
responses  OpenAI's Responses API in its background mode
runs       runs that an upstream keeps, whatever their protocol
offline    the built-in model
learning   lessons of refusals
reading    readers that several protocols share
http       HTTP to upstreams
"""
