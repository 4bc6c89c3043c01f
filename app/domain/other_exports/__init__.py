"""Conversations as other programs export them, read into messages of ours. Pure.

message_tree  the messages of any program, and the order in which they are kept
chatgpt       conversations.json of ChatGPT's data export
librechat     the JSON export of a conversation in LibreChat, flat or as a tree
"""
