"""Server-side functions a model may call.

`function.py` makes a tool of a function, `built_in.py` has the built-in tools, `arithmetic.py` evaluates the
expressions of one of them, and `registry.py` finds the tools of installed packages. docs/tools.md describes how to
write one.
"""
