"""Gemini's own APIs: ``streamGenerateContent``, and Interactions for runs in the background.

provider      the provider
request       prompt to request, pure
content       bytes of an answer to pieces, pure. calls is a part of it
interactions  the provider of runs. interactions_request, interactions_run and interactions_steps are its parts
"""
