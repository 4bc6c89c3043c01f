"""Anthropic's Messages API.

provider  the provider
request   prompt to request, pure. abilities is what its models take
messages  bytes of an answer to pieces, pure. blocks is a part of it
"""
