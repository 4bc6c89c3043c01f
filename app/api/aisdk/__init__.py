"""The Vercel AI SDK's protocol over the same generations: `useChat`, `Chat` and `DefaultChatTransport` unmodified.

bodies      what the transport posts, into what is asked of us
translate   a log as a UI message stream: the pure part
history     stored messages as UI messages, and the steps a continued answer begins with
chat        the routes
shapes      what they answer, for the OpenAPI document
"""
