"""Server-side functions a model may call: `function.py` makes a tool of a function, `built_in.py` has those that are
always there, `registry.py` finds the others. How to write one: docs/tools.md.
"""
