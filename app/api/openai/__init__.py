"""OpenAI's protocol over the same generations: Responses, Conversations, Chat Completions, Models.

ids              our ids with their prefixes
items            input items into messages, messages into items
asking           a request into the upstream's parameters, and what of it is told again
telling          what of a log still has to be told, whatever revisions it has: the part all translators share
translate        a log as the events of the Responses API
translate_chat   a log as chunks of a chat completion
form             errors, as the SDKs read them
serving          streams and awaited answers
bodies, shapes   what is asked and answered, for the OpenAPI document
responses, conversations, chat, models   the routes
"""
