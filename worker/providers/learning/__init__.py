"""Lessons of refusals: an upstream refuses a parameter by name, and the request is repeated without it.

refusals   the name of the refused parameter, from any shape of a refusal, pure
adjusting  repeats the request
learned    remembers the lesson for the model, bounded in number and in time
"""
