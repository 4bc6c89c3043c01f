"""The built-in model: no network, no key, the same answer for the same conversation.

provider  the provider. text has the words of its answers, tools its tool calls
"""
