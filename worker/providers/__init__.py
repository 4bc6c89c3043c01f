"""Where answers come from: one file per kind of provider, all speaking the pieces of ``base``.

base               what a provider is given and what it yields
offline            the built-in model: no network, no key
openai_compatible  any upstream with ``/chat/completions``
  http               asking and reading: the shape; http_direct and http_proxied do it
  chat_completions   its protocol, pure: prompt to request, bytes to pieces
  sse                its framing, pure
  continuation       going on after a break, pure
  upstream_errors    what its refusals mean, pure
registry           builds providers from plain values
"""
