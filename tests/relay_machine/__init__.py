"""The hub driven step by step: random sockets, clocks, stores and failures, with invariants checked after each step.

world     the stores, Redis and the clients of the hub; nothing in them happens by itself
table     the invariants of a hub's connections
machine   the rules, for Hypothesis
plants    faults to be planted, each of which the machine must find
"""
