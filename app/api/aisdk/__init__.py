"""The Vercel AI SDK's protocol over the generations of the native API, for `useChat`, `Chat`, `DefaultChatTransport`.

bodies      requests of the SDK's transport
ui_chunks   a log as a UI message stream; no input or output
history     stored messages as UI messages, and the steps that a continued answer begins with
chat        the routes
shapes      responses, for the OpenAPI document
"""
