"""OpenAI's protocol over the generations of the native API: Responses, Conversations, Chat Completions, Models.

ids               our ids with the prefixes of this protocol
items             input items as messages, and messages as items
request_mapping   a request as parameters of the upstream, and the fields that the response repeats
revision_diff     the text of a new revision that no reader has yet; both translators use it
response_events   a log as the events of the Responses API
chat_chunks       a log as the chunks of a chat completion
errors            refusals in the form that the SDKs read
delivery          responses as streams, and as objects that are sent at their end
bodies, shapes    requests and responses, for the OpenAPI document
responses, conversations, chat, models   the routes
"""
